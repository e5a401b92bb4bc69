/** YaRN, as `rope_scaling` of config.json gives it; the attention factor of DeepSeek-V4 is always 1 (docs/formats.md D2). */
export interface YarnParameters {
  readonly factor: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  readonly originalMaxPositionEmbeddings: number;
}
