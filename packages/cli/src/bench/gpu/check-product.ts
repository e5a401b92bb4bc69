import { matrixToFloat32 } from '@megamoe/checkpoint';
import type { WeightSource } from '@megamoe/model';
import type { Backend, OpArgs, Tensor, Tensors } from '@megamoe/ops';
import { checkDot, nvfp4At } from '../data';

/** Elements `[from, from + n)` of a tensor. */
function read(backend: Backend, x: Tensor, from: number, n: number): Float32Array {
  const out = new Float32Array(n);
  backend.download(x, from, n, out, 0);
  return out;
}

/** Throws unless a product of the synthetic model that has just run is right where it is looked at: its first column, summed in double. */
export function checkProduct(backend: Backend, source: WeightSource, op: 'linear' | 'groupedGemm', args: object): void {
  if (op === 'linear') checkLinear(backend, source, args as OpArgs<'linear', Tensors>);
  else checkGrouped(backend, source, args as OpArgs<'groupedGemm', Tensors>);
}

/** The last row of a dense product. Quantized inputs: a block of 16 is off by at most a quarter of its largest; BF16 keeps 8 bits. */
function checkLinear(
  backend: Backend,
  source: WeightSource,
  { w, x, rows, inputs, out }: OpArgs<'linear', Tensors>,
): void {
  const weights = matrixToFloat32(source.linearRows!(w.name.split('+')[0]!, w.n, w.k, 0, 1));
  const a = read(backend, x, (rows - 1) * w.groups * w.k, w.k);
  const [got] = read(backend, out, (rows - 1) * w.groups * w.n, 1);
  const tolerance = inputs === 'nvfp4' ? 0.25 : inputs === 'bf16' ? 0.005 : 1e-4;
  checkDot(
    `linear ${w.name}`,
    got!,
    w.k,
    (i) => a[i]!,
    (i) => weights[i]!,
    { tolerance },
  );
}

/** Most slots that are worth reading back. */
const MOST_SLOTS = 1024;

/** The first slot of a product of experts, from what was staged. */
function checkGrouped(
  backend: Backend,
  source: WeightSource,
  { w, staged, slots, expertOffsets, alpha, out }: OpArgs<'groupedGemm', Tensors>,
): void {
  if (slots > MOST_SLOTS || backend.readStaged === undefined) return;
  const rows = backend.readStaged(staged);
  const ends = new Int32Array(w.numExperts);
  backend.download(expertOffsets, 0, w.numExperts, ends, 0);
  const expert = ends.findIndex((end) => end > 0);
  const weights = source.expert(0, 0, w.parts === 2 ? 'w1' : 'w2');
  if (weights.format !== 'nvfp4') return;
  const factor = read(backend, alpha!, expert * w.parts, 1)[0]!;
  checkDot(
    `groupedGemm ${w.name}`,
    read(backend, out, 0, 1)[0]!,
    w.k,
    (i) => (rows.inputs === 'nvfp4' ? nvfp4At({ n: slots, k: w.k, ...rows }, 0, i) : rows.rows[i]!),
    (i) => nvfp4At(weights, 0, i),
    { factor, tolerance: rows.inputs === 'bf16' ? 0.005 : rows.inputs === 'f32' ? 1e-4 : 1e-5 },
  );
}
