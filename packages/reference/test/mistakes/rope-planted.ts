/** RoPE angles by the published formulas, for the tests alone: in float64, or rounded as a float32 run rounds them. */

export const YARN = { type: 'yarn', factor: 16, beta_fast: 32, beta_slow: 1, original_max_position_embeddings: 65536 };

export function angles(
  position: number,
  dim: number,
  theta: number,
  yarn: typeof YARN | undefined,
  exact: boolean,
): number[] {
  const f = exact ? (x: number): number => x : Math.fround;
  const out: number[] = [];
  const corrected = (turns: number): number =>
    (dim * Math.log(yarn!.original_max_position_embeddings / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  for (let i = 0; i < dim / 2; i++) {
    let inverse = f(1 / f(theta ** f((2 * i) / dim)));
    if (yarn) {
      const low = Math.max(Math.floor(corrected(yarn.beta_fast)), 0);
      let high = Math.min(Math.ceil(corrected(yarn.beta_slow)), dim - 1);
      if (low === high) high += 0.001;
      const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
      inverse = f(f(inverse / yarn.factor) * ramp + inverse * (1 - ramp));
    }
    out.push(f(position * inverse));
  }
  return out;
}
