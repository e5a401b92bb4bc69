/** Distances between what a model gives and what a golden holds. */
import { SafetensorsFile } from '../../packages/checkpoint/dist/index.js';

/** Largest absolute difference; NaN and another length count as infinite. */
export function maxAbs(got, want) {
  let worst = got.length === want.length ? 0 : Infinity;
  for (let i = 0; i < want.length; i++) {
    const d = Math.abs(got[i] - want[i]);
    if (!(d <= worst)) worst = Number.isNaN(d) ? Infinity : d;
  }
  return worst;
}

export function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < b.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.sqrt(aa * bb);
}

/** Negative log-likelihood of each token but the first, from logits [S, V]. */
export function nll(logits, ids) {
  const v = logits.length / ids.length;
  return Float64Array.from({ length: ids.length - 1 }, (_, t) => {
    const row = logits.subarray(t * v, (t + 1) * v);
    let top = -Infinity;
    for (const x of row) if (x > top) top = x;
    let sum = 0;
    for (const x of row) sum += Math.exp(x - top);
    return top + Math.log(sum) - row[ids[t + 1]];
  });
}

/** Tensors of a file by name, read when they are asked for. */
export class Goldens {
  constructor(path) {
    this.file = new SafetensorsFile(path);
    this.names = [...this.file.tensors.keys()];
  }

  shape(name) {
    return this.file.tensors.get(name).shape;
  }

  get(name) {
    const { dtype } = this.file.tensors.get(name);
    const bytes = this.file.read(name);
    if (dtype === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    return dtype === 'I32' ? new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) : bytes;
  }
}
