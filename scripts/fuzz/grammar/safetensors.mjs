/** Safetensors files: a header whose lengths and offsets are right unless one thing was made wrong on purpose. */
import { DTYPES, dtypeBits } from '../../../packages/checkpoint/dist/index.js';
import { Pairs, written } from './json.mjs';

const NAMES = [
  ...['a', 'b', 'weight', 'layers.0.attn.wq_a.weight', 'x'.repeat(300), '', ' ', '\0', '模型', '\u{1f600}', 'a"b\\c'],
  ...['__proto__', 'constructor', 'toString', 'a/b', '../a', 'e\u0301', '__metadata', 'length', '0', '-1'],
];
const SIZES = [0, 1, 1, 2, 2, 3, 4, 5, 7, 8, 16, 17];

/** Bytes of a tensor; undefined when it has no whole number of them. */
export function bytesOf(dtype, shape) {
  const bits = shape.reduce((a, n) => a * n, 1) * dtypeBits(dtype);
  return bits % 8 === 0 ? bits / 8 : undefined;
}

/** What can be wrong in a header. Each gets the entries `[name, { dtype, shape, data_offsets }]` and the rest of the file. */
const FAULTS = [
  ({ entries }, r) => (r.pick(entries)[1].data_offsets[r.below(2)] += r.pick([1, -1, 4, 2 ** 32, 2 ** 53])),
  ({ entries }, r) =>
    (r.pick(entries)[1].data_offsets = r.pick([[0], [], [0, 0, 0], [1, 0], null, '0', [0.5, 1], [-1, 0]])),
  ({ entries }, r) => (r.pick(entries)[1].dtype = r.pick([...DTYPES, 'f32', 'F80', '', null, 7, '__proto__'])),
  ({ entries }, r) => r.pick(entries)[1].shape.push(r.pick([0, 1, 2, -1, 0.5, 2 ** 53, null, 1e308, '2'])),
  ({ entries }, r) => (r.pick(entries)[1].shape = r.pick([null, 3, {}, '2', [[1]], [2 ** 27, 2 ** 27], [0, 2 ** 53]])),
  ({ entries }, r) => (r.pick(entries)[1][r.pick(['extra', 'Dtype', '__proto__x', ''])] = 1),
  ({ entries }, r) => Reflect.deleteProperty(r.pick(entries)[1], r.pick(['dtype', 'shape', 'data_offsets'])),
  ({ entries }, r) => entries.push([r.pick(entries)[0], r.pick(entries)[1]]), // twice the same name, or the same bytes
  ({ entries }, r) => entries.splice(r.below(entries.length), 1),
  ({ entries }, r) => (r.pick(entries)[1] = r.pick([null, 1, 'x', []])),
  (file, r) => (file.metadata = r.pick([null, 1, [], { a: 1 }, { a: null }, { a: { b: '' } }, ''])),
  (file, r) => (file.longer = r.pick([1, -1, 8, 2 ** 20, 2 ** 40])),
  (file, r) => (file.data = file.data.subarray(r.below(3))),
  (file, r) => (file.data = Buffer.concat([file.data, Buffer.alloc(1 + r.below(9))])),
  (file, r) => (file.after = r.pick([',', '}', ' x', '\0', ' \n'])),
  (file) => (file.before = '\ufeff'),
];

/**
 * A file of tensors `{ name, dtype, shape, bytes }`, whose data may lie in another order than the header names them.
 * @param wrong how many things to make wrong
 */
export function fileOf(tensors, r, { metadata, wrong = 0 } = {}) {
  const order = tensors.map((t) => t);
  if (r.below(3) === 0) order.sort(() => r.below(3) - 1);
  let at = 0;
  const offsets = new Map();
  for (const t of order) offsets.set(t, [at, (at += t.bytes.length)]);
  const entries = tensors.map((t) => [t.name, { dtype: t.dtype, shape: [...t.shape], data_offsets: offsets.get(t) }]);
  const file = { entries, metadata, data: Buffer.concat(order.map((t) => t.bytes)), longer: 0, before: '', after: '' };
  for (let i = 0; i < wrong; i++) {
    const fault = r.pick(FAULTS);
    try {
      fault(file, r);
    } catch {
      continue; // nothing there to make wrong
    }
  }
  const list = [...file.entries];
  if (file.metadata !== undefined) list.splice(r.below(2) * list.length, 0, ['__metadata__', file.metadata]);
  let json = `${file.before}${written(new Pairs(list), r)}${file.after}`;
  if (r.below(2) === 0) json += ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8);
  const header = Buffer.from(json);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Math.max(0, header.length + file.longer)));
  return Buffer.concat([length, header, file.data]);
}

/** Random bytes. */
export function noise(n, r) {
  const out = Buffer.alloc(n);
  for (let i = 0; i < n; i++) out[i] = r.below(256);
  return out;
}

/** A file of a few tensors of any type; in four of ten something is wrong. */
export function makeSafetensors(r) {
  const names = new Set(Array.from({ length: r.below(6) }, () => r.pick(NAMES)));
  const tensors = [...names].map((name) => {
    for (;;) {
      const dtype = r.pick(DTYPES);
      const shape = Array.from({ length: r.below(5) }, () => r.pick(SIZES));
      const bytes = bytesOf(dtype, shape);
      if (bytes !== undefined && bytes < 20_000) return { name, dtype, shape, bytes: noise(bytes, r) };
    }
  });
  const metadata = r.pick([undefined, undefined, { format: 'pt' }, {}, { a: '', __proto__: 'x', '\u{1f600}': 'é\n' }]);
  return fileOf(tensors, r, { metadata, wrong: r.below(10) < 6 ? 0 : 1 + r.below(2) });
}
