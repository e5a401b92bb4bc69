import type { ExpertsWeight, InputPrecision, StagedRows } from '@megamoe/ops';
import * as reference from '@megamoe/reference';
import { product } from '../bounds';
import { groupedGemmDump } from '../dump';
import { decodeRows, nvfp4Part, roundedToBf16 } from '../decode';
import type { Check, Judge, StagedNote } from '../judge';
import { lengthOf } from '../measure';
import type { Verdict } from '../recorder';
import type { Judged } from '../types';
import { byItsMath, SumSizes } from './w4a4';
import { fewRows, forExperts, rowsOf, stageBeside } from './staging';

/** What is multiplied. */
interface Product {
  readonly w: ExpertsWeight;
  readonly staged: StagedRows;
  readonly ends: Int32Array;
  /** [E * parts] */
  readonly alpha: Float32Array | null;
}

/** Rows in NVFP4, by the kernels' rule and exact, and the bound that the backend's math has. */
function quantizedProduct(
  j: Judge,
  { w, staged, ends, alpha }: Product,
): Pick<Judged, 'want' | 'exact' | 'bound' | 'scale'> {
  if (staged.inputs !== 'nvfp4') throw new Error(`rows are staged as ${staged.inputs}`);
  const { n, k, parts, numExperts } = w;
  const rows = rowsOf(ends);
  const alphas = alpha ?? new Float32Array(numExperts * parts).fill(1);
  const [want, exact] = [new Float32Array(rows * n), new Float64Array(rows * n)];
  const sizes = j.isFast ? new SumSizes(rows * n) : undefined;
  forExperts(ends, (e, start, count) => {
    const b = j.registry.nvfp4Expert(w, e);
    const a = nvfp4Part(staged, k, start, count);
    const scales = {
      alpha: alphas.subarray(e * parts, (e + 1) * parts),
      rowScale: staged.rowScale?.subarray(start, start + count) ?? null,
    };
    const part = reference.groupedGemmByBlocks({
      ...{ n, k, parts, aCodes: a.codes, aSf: a.sf, bCodes: b.codes, bSf: b.sf, expertOffsets: [count], ...scales },
    });
    want.set(part.rounded, start * n);
    exact.set(part.exact, start * n);
    sizes?.add(decodeRows(a, k), decodeRows(b, k), { n, k, parts, ...scales }, (r, c) => (start + r) * n + c);
  });
  return byItsMath(want, exact, k, sizes);
}

/** Rows in float32 or BF16, in float64, and the scale of the rounding of each element. */
function floatProduct(j: Judge, { w, staged, ends, alpha }: Product): Pick<Judged, 'want' | 'scale'> {
  if (staged.inputs === 'nvfp4') throw new Error('rows are staged as nvfp4');
  const { n, k, parts } = w;
  const xs = staged.inputs === 'bf16' ? roundedToBf16(staged.rows) : staged.rows;
  const rows = rowsOf(ends);
  const [want, scale] = [new Float64Array(rows * n), new Float64Array(rows * n)];
  forExperts(ends, (e, start, count) => {
    const b = j.registry.expert(w, e);
    const own = alpha?.subarray(e * parts, (e + 1) * parts) ?? null;
    const part = xs.subarray(start * k, (start + count) * k);
    want.set(reference.groupedGemm(part, b, { n, k, expertOffsets: [count], alpha: own, parts }), start * n);
    for (let c = 0; c < n; c++) {
      const factor = Math.abs(own ? own[Math.floor((c * parts) / n)]! : 1) * lengthOf(b, c * k, k);
      for (let r = start; r < start + count; r++) scale[r * n + c] = factor * lengthOf(xs, r * k, k) + 1e-30;
    }
  });
  return { want, scale: (i) => scale[i]! };
}

/** A grouped product beside the right one. */
function judged(j: Judge, output: string, all: Float32Array, p: Product): Judged {
  const { n, k } = p.w;
  const rows = rowsOf(p.ends);
  const got = all.subarray(0, rows * n);
  const shape = [rows, n];
  if (p.staged.inputs === 'nvfp4') return { output, got, shape, ...quantizedProduct(j, p) };
  return { output, got, shape, bound: product(k), ...floatProduct(j, p) };
}

/** What is staged, which must still be what was staged. */
function stagedNow(
  j: Judge,
  at: Verdict,
  staged: Parameters<NonNullable<Judge['backend']['readStaged']>>[0],
): StagedNote {
  const note = j.staged.get(staged);
  if (note === undefined) return j.recorder.stop(at, 'its rows were never staged');
  const now = j.watch.guarded(at, () => j.backend.readStaged?.(staged));
  if (now === undefined) return note;
  const same = (what: string, before: Float32Array | Uint8Array, after: Float32Array | Uint8Array): void =>
    j.watch.checkSame(at, what, note.at.op, before, after);
  const { rows } = note;
  if (now.inputs === 'nvfp4' && rows.inputs === 'nvfp4') {
    same('its staged codes', rows.codes, now.codes);
    same('its staged scales', rows.sf, now.sf);
  } else if (now.inputs !== 'nvfp4' && rows.inputs !== 'nvfp4') same('its staged rows', rows.rows, now.rows);
  return note;
}

/** Products with the experts' weights. */
export const groupedGemm: Check<'groupedGemm'> = {
  at({ w, staged }, j) {
    const name = j.names.weight(w) ?? (w.name === '' ? 'groupedGemm' : w.name);
    const op = `${name.replace(/^ffn\.experts\./, 'ffn.')}.gemm`;
    return { layer: j.layer, op, operation: 'groupedGemm', inputs: staged.inputs };
  },
  judge({ args, before, after }, at, j) {
    const { w, staged } = args;
    const { alpha } = before;
    const ends = before.expertOffsets;
    const note = stagedNow(j, at, staged);
    const right = judged(j, 'out', after.out, { w, staged: note.rows, ends, alpha });
    j.take(at, [right], () =>
      note.rows.inputs === 'nvfp4'
        ? groupedGemmDump({
            ...{ w, ends, alpha, staged: note.rows, inputScales: note.inputScales, got: right.got, want: right.want },
            weights: () => Array.from({ length: w.numExperts }, (_, e) => j.registry.nvfp4Expert(w, e)),
          })
        : undefined,
    );
    if (!j.first('precisions', w.name, at.layer, at.op) || rowsOf(ends) === 0) return;
    const possible: readonly InputPrecision[] = w.format === 'nvfp4' ? ['f32', 'bf16', 'nvfp4'] : ['f32', 'bf16'];
    for (const inputs of j.otherPrecisions(at.inputs!, possible)) {
      const few = fewRows({ ...note, inputs, ends, globalDecodeScale: null }, { inputs, isStatic: false });
      const beside = { layer: at.layer, op: `groupedGemm.${inputs}`, operation: 'groupedGemm', inputs } as const;
      j.scratch((made) => {
        const own = stageBeside(j, made, beside, few);
        const slots = rowsOf(few.ends);
        const out = made.alloc('f32', [slots, w.n]);
        const expertOffsets = made.tensor(few.ends);
        const call = j.again(beside, 'groupedGemm', { w, staged: own, slots, expertOffsets, alpha: args.alpha, out });
        const { rows } = j.staged.get(own)!;
        j.take(beside, [judged(j, at.op, call.after.out, { w, staged: rows, ends: few.ends, alpha })]);
        j.staged.delete(own);
      });
    }
  },
};
