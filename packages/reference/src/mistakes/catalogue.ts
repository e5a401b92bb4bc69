/** What is right, in one line for each mistake. */

/** A mistake the catalogue knows. */
export interface MistakeInfo {
  readonly id: string;
  /** Operations whose dumps it is tried against. */
  readonly ops: readonly string[];
  /** The line of documentation that says what is right. */
  readonly rule: string;
}

const SCALES = ['scale_layout', 'grouped_gemm_nvfp4', 'moe_nvfp4'];
const GLOBAL = ['grouped_gemm_nvfp4', 'moe_nvfp4', 'quantize_nvfp4'];
const CODES = ['quantize_nvfp4', 'grouped_gemm_nvfp4', 'moe_nvfp4'];
const RAGGED = ['grouped_gemm_nvfp4', 'moe_nvfp4', 'route'];
const TILE = '128x4 tile: byte (row % 32) * 16 + (row / 32 % 4) * 4 + k % 4, tiles of 512 bytes along k first';

const info = (id: string, ops: readonly string[], rule: string): MistakeInfo => ({ id, ops, rule });

/** Every mistake, in the order in which those that coincide are listed. */
export const MISTAKES: readonly MistakeInfo[] = [
  info(
    'scales-swizzled-globally',
    SCALES,
    "Each expert's scale rows are padded to 128 and swizzled alone, then concatenated.",
  ),
  info(
    'scales-empty-expert-padded',
    SCALES,
    'An expert without rows has no scale rows: its block in the swizzled scales is empty.',
  ),
  info('scales-left-linear', SCALES, `Tensor cores read block scales swizzled. ${TILE}.`),
  info(
    'scales-swizzled-twice',
    SCALES,
    'Block scales are swizzled once, from the linear (row-major) matrix of the checkpoint.',
  ),
  info('scales-mk-swapped', SCALES, `${TILE}: row / 32 has stride 4 and k has stride 1, not the other way round.`),
  info('scales-only-k-group-0', SCALES, 'Every k group has a scale: k group = f4 + 4 f5, one for each 16 elements.'),
  info(
    'scales-source-transposed',
    SCALES,
    'Linear scales are row-major [rows, K/16]; strides of another order are explicit arguments.',
  ),
  info(
    'scales-padding-not-zero',
    ['scale_layout'],
    'Padding rows and columns of swizzled scales are zero: kernels read whole tiles.',
  ),
  info(
    'scales-buffer-wrong',
    ['grouped_gemm_nvfp4'],
    `The swizzled buffer must hold the block scales of its operand. ${TILE}.`,
  ),
  info(
    'offsets-leading-zero',
    RAGGED,
    'expertOffsets are cumulative ends, E entries, no leading zero: counts [4, 4, 0] give [4, 8, 8].',
  ),
  info(
    'offsets-searchsorted-left',
    RAGGED,
    'The expert of a row is the first e with expertOffsets[e] > row (searchsorted right).',
  ),
  info(
    'slots-not-gathered',
    ['moe_nvfp4', 'route'],
    'Slot s reads the token slotToken[s]; rows equal tokens only when that map is the identity.',
  ),
  info(
    'slots-all-token-0',
    ['moe_nvfp4', 'route', 'grouped_gemm_nvfp4'],
    'Slot s reads the token slotToken[s]; check the index buffer after warm-up.',
  ),
  info(
    'expert-ids-global',
    ['moe_nvfp4', 'route'],
    "A rank's expert ids are local: subtract its first id, mask the rest with weight zero.",
  ),
  info(
    'global-scale-inverted',
    GLOBAL,
    'globalDecodeScale multiplies after the product: alpha = aDecode * bDecode; its inverse is the encode scale.',
  ),
  info(
    'global-scale-missing',
    GLOBAL,
    'alpha = aDecode * bDecode: the global scale amax / (6 * 448) is part of the epilogue.',
  ),
  info(
    'global-scale-twice',
    GLOBAL,
    'alpha = aDecode * bDecode: each global scale is applied once, in alpha, and not in the block scales too.',
  ),
  info(
    'global-scale-of-first-expert',
    ['grouped_gemm_nvfp4', 'moe_nvfp4'],
    'Global scales are per expert: alpha[e] = aDecode[e] * bDecode[e].',
  ),
  info(
    'global-scale-l1-for-l2',
    ['moe_nvfp4'],
    'L1 (gate and up) and L2 (down) have global scales of their own; after SwiGLU the amax is another.',
  ),
  info(
    'input-scale-saturated',
    ['quantize_nvfp4', 'moe_nvfp4'],
    'input scale = amax / (6 * 448) of what really comes in: block scales at 448 mean that it was calibrated too small.',
  ),
  info('nibbles-swapped', CODES, 'Two E2M1 codes a byte, the even element in the low nibble.'),
  info('nibbles-half-split', CODES, 'Byte j holds elements 2j (low nibble) and 2j + 1 (high nibble), not k and k + 8.'),
  info(
    'gate-up-swapped',
    ['moe_nvfp4'],
    'w1 is the gate, w3 the up projection: silu(min(w1 x, limit)) * clamp(w3 x, -limit, limit).',
  ),
  info(
    'swiglu-unclamped',
    ['moe_nvfp4'],
    'The gate is clamped to at most swiglu_limit, up to [-limit, limit], before silu(gate) * up.',
  ),
  info('topk-without-bias', ['route'], 'Experts are chosen by score + bias.'),
  info('topk-weights-biased', ['route'], 'The bias is for the choice only: weights come from the scores without it.'),
  info(
    'topk-weights-unnormalised',
    ['route'],
    "A token's weights are divided by their sum (+ 1e-20), then multiplied by routed_scaling_factor.",
  ),
  info('routed-scale-missing', ['route'], 'Normalised weights are multiplied by routed_scaling_factor.'),
  info(
    'attention-own-block-visible',
    ['attention'],
    'Compressed entry w is visible to position t iff w < floor((t + 1) / ratio).',
  ),
  info(
    'attention-newest-block-missing',
    ['attention'],
    'Compressed entry w is visible to position t iff w < floor((t + 1) / ratio): the newest complete block counts.',
  ),
  info(
    'attention-future-visible',
    ['attention'],
    'Compressed entry w is visible to position t iff w < floor((t + 1) / ratio); later ones are masked.',
  ),
  info(
    'attention-selection-ignored',
    ['attention'],
    "In CSA layers (ratio 4) only the indexer's choice among the visible entries is attended.",
  ),
  info(
    'attention-window-long',
    ['attention'],
    'Position t sees the tokens s with t - window < s <= t: window of them, itself included.',
  ),
  info(
    'attention-window-short',
    ['attention'],
    'Position t sees the tokens s with t - window < s <= t: window of them, itself included.',
  ),
  info('attention-sink-missing', ['attention'], 'The sink is one more logit per head, in the denominator only.'),
  info('attention-sink-scaled', ['attention'], 'The sink logit is not multiplied by the softmax scale.'),
  info(
    'attention-compressed-ignored',
    ['attention'],
    'Layers with ratio 4 or 128 also attend to the visible compressed entries.',
  ),
  info(
    'attention-inverse-rope-missing',
    ['attention'],
    "K and V are one tensor: the output's rope dims are rotated back by the query's position.",
  ),
  info(
    'attention-inverse-rope-forward',
    ['attention'],
    "The output's rope dims are rotated back (the conjugate) by the query's position.",
  ),
  info(
    'attention-inverse-rope-by-key',
    ['attention'],
    "The output's rope dims are rotated back by the query's position, not each value by its key's.",
  ),
  info('rope-half-split', ['rope', 'attention'], 'RoPE turns pairs of neighbours (2i, 2i + 1), not i and i + d/2.'),
  info('rope-leading-dims', ['rope', 'attention'], 'RoPE turns the last rope_dim dims of a head.'),
  info(
    'rope-backwards',
    ['rope'],
    'RoPE turns (a, b) to (a cos - b sin, b cos + a sin); only the attention output is turned back.',
  ),
  info('yarn-on-window-layer', ['rope', 'attention'], 'Layers with ratio 0 (sliding window) have no YaRN.'),
  info(
    'yarn-missing',
    ['rope', 'attention'],
    'Layers with compressed entries (ratio 4 and 128) use YaRN, for their window keys and queries too.',
  ),
  info(
    'residual-comb-transposed',
    ['residual_mix'],
    'new[k] = post[k] * out + sum_j comb[j, k] * old[j]: comb is used transposed.',
  ),
  info('residual-post-halved', ['residual_mix'], 'post = 2 * sigmoid(...): the factor 2 is part of it.'),
  info('penalty-ignores-prompt', ['penalty'], 'The repetition penalty counts the ids of prompt and output.'),
  info(
    'penalty-ignores-output',
    ['penalty'],
    'The repetition penalty counts prompt and output; presence and frequency count the output.',
  ),
  info(
    'penalty-sign',
    ['penalty'],
    'A logit above 0 is divided by the repetition penalty, one below 0 multiplied by it.',
  ),
  info('penalty-counts-prompt', ['penalty'], 'Presence and frequency penalties count the output only.'),
];

const RULES = new Map(MISTAKES.map(({ id, rule }) => [id, rule]));

/** The rule a mistake breaks. */
export function ruleOf(id: string): string {
  const rule = RULES.get(id);
  if (rule === undefined) throw new Error(`explain: "${id}" is not in the catalogue`);
  return rule;
}
