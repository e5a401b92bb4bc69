import type { InputPrecision, LinearWeight } from '@megamoe/ops';
import * as reference from '@megamoe/reference';
import { product } from '../bounds';
import { decodeRows, roundedToBf16 } from '../decode';
import type { Check, Judge } from '../judge';
import { lengthOf } from '../measure';
import type { Judged } from '../types';
import { PROBED_ROWS, rowScalesOf } from './precision';
import { byItsMath, SumSizes } from './w4a4';

/** Rows of a weight that are decoded at a time. */
const CHUNK = 512;

/** `x . w` in float64, a few rows of the weight at a time, and |x| |w| of every element: the scale of its rounding. */
function denseProduct(j: Judge, w: LinearWeight, x: Float32Array, m: number): Pick<Judged, 'want' | 'scale'> {
  const { n, k, groups } = w;
  const width = groups * n;
  const want = new Float64Array(m * width);
  const scale = new Float64Array(m * width);
  for (let g = 0; g < groups; g++) {
    const xs = groupOf(x, m, k, groups, g);
    const xLength = Array.from({ length: m }, (_, r) => lengthOf(xs, r * k, k));
    for (let c0 = 0; c0 < n; c0 += CHUNK) {
      const rows = Math.min(CHUNK, n - c0);
      const part = j.registry.linearRows(w, g * n + c0, rows);
      const y = reference.linear(xs, part, { m, n: rows, k });
      for (let c = 0; c < rows; c++) {
        const wLength = lengthOf(part, c * k, k);
        for (let r = 0; r < m; r++) {
          const at = r * width + g * n + c0 + c;
          want[at] = y[r * rows + c]!;
          scale[at] = xLength[r]! * wLength;
        }
      }
    }
  }
  return { want, scale: (i) => scale[i]! };
}

/** The product of inputs in NVFP4, by the kernels' rule and exact, and the bound that the backend's math has. */
function quantizedProduct(
  j: Judge,
  w: LinearWeight,
  x: Float32Array,
  m: number,
): Pick<Judged, 'want' | 'exact' | 'bound' | 'scale'> {
  const { n, k, groups, inputGlobalDecodeScale: input } = w;
  const source = j.registry.linear(w);
  if (source.dtype !== 'nvfp4' || input === null) throw new Error(`${w.name} takes no inputs in NVFP4`);
  const [want, exact] = [new Float32Array(m * groups * n), new Float64Array(m * groups * n)];
  const sizes = j.isFast ? new SumSizes(m * groups * n) : undefined;
  for (let g = 0; g < groups; g++) {
    const rows = groupOf(x, m, k, groups, g);
    const own = rowScalesOf(rows, m, k);
    const a = reference.quantizeNvfp4(rows, { m, k, globalDecodeScale: input === 'row' ? own : input });
    const b = j.registry.nvfp4Rows(w, g * n, n);
    const parts = source.parts ?? 1;
    const scales = {
      alpha: source.weightGlobalDecodeScale.map((s) => (input === 'row' ? s : s * Math.fround(input))),
      rowScale: input === 'row' ? own : null,
    };
    const part = reference.groupedGemmByBlocks({
      ...{ n, k, parts, aCodes: a.codes, aSf: a.sf, bCodes: b.codes, bSf: b.sf, expertOffsets: [m], ...scales },
    });
    const at = (r: number, c: number): number => (r * groups + g) * n + c;
    sizes?.add(decodeRows(a, k), decodeRows(b, k), { n, k, parts, ...scales }, at);
    for (let r = 0; r < m; r++) {
      want.set(part.rounded.subarray(r * n, (r + 1) * n), (r * groups + g) * n);
      exact.set(part.exact.subarray(r * n, (r + 1) * n), (r * groups + g) * n);
    }
  }
  return byItsMath(want, exact, k, sizes);
}

/** The inputs of one group, [m, k]. */
function groupOf(x: Float32Array, m: number, k: number, groups: number, g: number): Float32Array {
  const out = new Float32Array(m * k);
  for (let r = 0; r < m; r++) out.set(x.subarray((r * groups + g) * k, (r * groups + g + 1) * k), r * k);
  return out;
}

/** A product with inputs of any precision, beside the right one. */
function judged(
  j: Judge,
  output: string,
  w: LinearWeight,
  inputs: InputPrecision,
  x: Float32Array,
  got: Float32Array,
): Judged {
  const m = got.length / (w.groups * w.n);
  const shape = [m, w.groups * w.n];
  if (inputs === 'nvfp4') return { output, got, shape, ...quantizedProduct(j, w, x, m) };
  const rows = inputs === 'bf16' ? roundedToBf16(x) : x;
  return { output, got, shape, bound: product(w.k), ...denseProduct(j, w, rows, m) };
}

/** Dense products. An embedding that is the head, too, is called by what it does here. */
export const linear: Check<'linear'> = {
  at({ w, inputs }, j) {
    const name = j.names.weight(w) ?? (w.name === '' ? 'linear' : w.name);
    const op = name === 'embed' ? 'head' : name.replace(/^ffn\.shared_experts\./, 'ffn.shared.');
    return { layer: j.layer, op, operation: 'linear', inputs };
  },
  judge({ args, before, after }, at, j) {
    const { w, inputs } = args;
    j.take(at, [judged(j, 'out', w, inputs, before.x, after.out)]);
    if (!j.first('precisions', w.name, at.layer, at.op)) return;
    const possible: readonly InputPrecision[] =
      w.inputGlobalDecodeScale === null ? ['f32', 'bf16'] : ['f32', 'bf16', 'nvfp4'];
    const rows = Math.min(args.rows, PROBED_ROWS);
    for (const other of j.otherPrecisions(inputs, possible)) {
      const beside = { layer: at.layer, op: `linear.${other}`, operation: 'linear', inputs: other } as const;
      const call = j.scratch((made) => {
        const out = made.alloc('f32', [rows, w.groups * w.n]);
        return j.again(beside, 'linear', { w, x: args.x, rows, inputs: other, out });
      });
      j.take(beside, [judged(j, at.op, w, other, call.before.x, call.after.out)]);
    }
  },
};
