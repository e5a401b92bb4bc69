import type { Ops } from './backend/ops';
import type { Tensor } from './tensor';

/** Largest input magnitude of each expert of one layer, for its two GEMMs (gate and up share theirs); 0 where no token went. */
export interface ExpertAmax {
  readonly w13: Float32Array;
  readonly w2: Float32Array;
}

/** Records, over any number of forward calls, the range of what every expert is given: what `input_scale` is made of. */
export class ExpertRanges {
  /** One entry for each layer, `w13` and `w2` [E]. */
  readonly layers: readonly ExpertAmax[];

  constructor(
    numLayers: number,
    private readonly numExperts: number,
  ) {
    this.layers = Array.from({ length: numLayers }, () => ({
      w13: new Float32Array(numExperts),
      w2: new Float32Array(numExperts),
    }));
  }

  /** Takes in the rows of a grouped GEMM's input: `x` [slots, k] in slot order, or [tokens, k] with `slotToken`. */
  record(
    ops: Ops,
    layer: number,
    gemm: 'w13' | 'w2',
    x: Tensor,
    k: number,
    slotToken: Tensor | null,
    expertOffsets: Tensor,
    slots: number,
  ): void {
    const ends = new Int32Array(this.numExperts);
    ops.download(expertOffsets, 0, ends.length, ends, 0);
    const rowOf = new Int32Array(slots).map((_, i) => i);
    if (slotToken) ops.download(slotToken, 0, slots, rowOf, 0);
    const rows = rowOf.reduce((a, b) => Math.max(a, b), -1) + 1;
    const host = new Float32Array(rows * k);
    ops.download(x, 0, host.length, host, 0);
    const amax = this.layers[layer]![gemm];
    for (let e = 0, slot = 0; e < ends.length; e++) {
      for (; slot < ends[e]!; slot++) {
        const at = rowOf[slot]! * k;
        for (let i = at; i < at + k; i++) {
          const a = Math.abs(host[i]!);
          if (a > amax[e]!) amax[e] = a;
        }
      }
    }
  }
}
