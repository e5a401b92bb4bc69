import type { LinearShape } from '../engine';
import { dot } from './linear';
import type { RowScratch } from './linear';
import { decodeNvfp4Row, groupedW4A4 } from './nvfp4';
import type { Nvfp4Storage } from './nvfp4';
import { stageDynamic, stageStatic } from './stage';

/** Float32 rows against an nvfp4 linear; see GemmKernels.linear. */
export function linearNvfp4(
  w: Nvfp4Storage,
  { groups, n, k, parts }: LinearShape,
  alpha: Float32Array,
  x: Float32Array,
  m: number,
  out: Float32Array,
  scratch: RowScratch,
): void {
  const row = scratch.floats(k);
  for (let c = 0; c < groups * n; c++) {
    const g = Math.floor(c / n);
    const scale = alpha[g * parts + Math.floor(((c - g * n) * parts) / n)]!;
    decodeNvfp4Row(w, c, k, row);
    for (let r = 0; r < m; r++) out[r * groups * n + c] = scale * dot(x, (r * groups + g) * k, row, 0, k);
  }
}

/** Quantized rows against an nvfp4 linear. One object holds its scratch, which only ever grows. */
export class LinearW4A4 {
  private codes = new Uint8Array(0);
  private sf = new Uint8Array(0);
  private rowScale = new Float32Array(0);
  private out = new Float32Array(0);
  private slots = new Int32Array(0);
  private ends = new Int32Array(0);
  private scales = new Float32Array(0);

  private reserve(rows: number, { groups, n, k }: LinearShape): void {
    if (this.codes.length < (rows * k) / 2) this.codes = new Uint8Array((rows * k) / 2);
    if (this.sf.length < (rows * k) / 16) this.sf = new Uint8Array((rows * k) / 16);
    if (this.rowScale.length < rows) this.rowScale = new Float32Array(rows);
    if (this.slots.length < rows) this.slots = new Int32Array(rows);
    if (this.out.length < rows * n) this.out = new Float32Array(rows * n);
    if (this.ends.length !== groups) {
      this.ends = new Int32Array(groups);
      this.scales = new Float32Array(groups);
    }
  }

  /** Returns -1, or the index in x of a value that is not finite. `inputScale` 0: each row's own. */
  run(
    pairDot: Int16Array,
    w: Nvfp4Storage,
    shape: LinearShape,
    alpha: Float32Array,
    inputScale: number,
    x: Float32Array,
    m: number,
    out: Float32Array,
  ): number {
    const { groups, n, k, parts } = shape;
    const rows = m * groups;
    this.reserve(rows, shape);
    const { codes, sf, slots, ends, scales, rowScale } = this;
    // x is [M, groups, K]: slot g*M + r holds row r of group g.
    for (let g = 0; g < groups; g++) {
      ends[g] = (g + 1) * m;
      scales[g] = inputScale;
      for (let r = 0; r < m; r++) slots[g * m + r] = r * groups + g;
    }
    const isDynamic = inputScale === 0;
    const bad = isDynamic
      ? stageDynamic(x, k, slots, rows, codes, sf, rowScale)
      : stageStatic(x, k, slots, ends, scales, codes, sf);
    if (bad >= 0) return bad;
    const grouped = groups === 1 ? out : this.out;
    groupedW4A4(pairDot, w, n, k, parts, codes, sf, ends, alpha, isDynamic ? rowScale : null, grouped);
    if (groups === 1) return -1;
    for (let g = 0; g < groups; g++)
      for (let r = 0; r < m; r++)
        for (let c = 0; c < n; c++) out[(r * groups + g) * n + c] = grouped[(g * m + r) * n + c]!;
    return -1;
  }
}
