import type { EngineArgs, LinearShape } from '../engine';
import { dot } from './linear';
import type { RowScratch } from './linear';
import { decodeNvfp4Row, groupedW4A4 } from './nvfp4';
import type { Nvfp4Storage } from './nvfp4';
import { stageNvfp4 } from './stage';

/** Float32 rows against an nvfp4 linear: float64 sums of exact weights, times alpha. */
export function linearNvfp4({ w, x, rows, out }: EngineArgs<'linear'>, scratch: RowScratch): void {
  const { groups, n, k, parts } = w.shape;
  const { alpha } = w.nvfp4!;
  const row = scratch.floats(k);
  for (let c = 0; c < groups * n; c++) {
    const g = Math.floor(c / n);
    const scale = alpha[g * parts + Math.floor(((c - g * n) * parts) / n)]!;
    decodeNvfp4Row(w.storage as Nvfp4Storage, c, k, row);
    for (let r = 0; r < rows; r++) out[r * groups * n + c] = scale * dot(x, (r * groups + g) * k, row, 0, k);
  }
}

/** Quantized rows against an nvfp4 linear. One object holds its scratch, which only ever grows. */
export class LinearW4A4 {
  codes = new Uint8Array(0);
  sf = new Uint8Array(0);
  rowScale = new Float32Array(0);
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

  /** Stages the rows of each group and multiplies them as those of an expert. Returns -1, or the index in x of a value that is not finite. */
  run(pairDot: Int16Array, { w, x, rows: m, out }: EngineArgs<'linear'>): number {
    const { groups, n, k } = w.shape;
    const { alphaW4a4: alpha, input } = w.nvfp4!;
    const rows = m * groups;
    this.reserve(rows, w.shape);
    const { codes, sf, slots, ends, scales, rowScale } = this;
    // x is [M, groups, K]: slot g*M + r holds row r of group g.
    for (let g = 0; g < groups; g++) {
      ends[g] = (g + 1) * m;
      for (let r = 0; r < m; r++) slots[g * m + r] = r * groups + g;
    }
    const isDynamic = input === 'row';
    if (!isDynamic) scales.fill(input!);
    const globalDecodeScale = isDynamic ? null : scales;
    const bad = stageNvfp4({ x, k, slotToken: slots, expertOffsets: ends, globalDecodeScale, staged: this });
    if (bad >= 0) return bad;
    const grouped = groups === 1 ? out : this.out;
    groupedW4A4(pairDot, {
      w: w.storage as Nvfp4Storage,
      shape: w.shape,
      a: { codes, sf },
      expertOffsets: ends,
      alpha,
      rowScale: isDynamic ? rowScale : null,
      out: grouped,
    });
    if (groups === 1) return -1;
    for (let g = 0; g < groups; g++)
      for (let r = 0; r < m; r++)
        for (let c = 0; c < n; c++) out[(r * groups + g) * n + c] = grouped[(g * m + r) * n + c]!;
    return -1;
  }
}
