/** Whatever a dump holds: an answer, or a CheckpointError that says what is wrong. */
import { CheckpointError } from '@megamoe/core';
import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { explainDump, type Dump, type DumpTensor } from '../../src/index';
import { bytes, dump, floats, ints } from './build';
import { gemmDump } from './gemm-planted';
import { moeDump } from './moe-planted';

const r = seeded(3);
const f = (...shape: number[]): DumpTensor => floats(shape, r.floats(shape.reduce((a, b) => a * b, 1)));

const DUMPS: Dump[] = [
  gemmDump({ counts: [2, 0, 3], n: 3, k: 32, seed: 1 }, {}, { swizzled: true }),
  moeDump({ t: 3, h: 32, i: 16, experts: 3, topk: 2, limit: 5, start: 1, total: 5, seed: 1 }),
  dump(
    { op: 'scale_layout', side: '2d' },
    {
      'in.sf': bytes([5, 3], r.scales(15)),
      'in.expert_offsets': ints([3], [2, 2, 5]),
      'out.sf_swizzled': bytes([1024], new Uint8Array(1024)),
    },
  ),
  dump(
    { op: 'scale_layout', side: '3d' },
    { 'in.sf': bytes([2, 5, 3], r.scales(30)), 'out.sf_swizzled': bytes([1024], new Uint8Array(1024)) },
  ),
  dump(
    { op: 'quantize_nvfp4' },
    {
      'in.x': f(2, 32),
      'in.global_decode_scale': floats([], [0.01]),
      'out.codes': bytes([2, 16], r.bytes(32)),
      'out.sf': bytes([2, 2], r.bytes(4)),
    },
  ),
  dump(
    { op: 'route', topk: 2, scoring: 'sigmoid', routed_scaling_factor: 2, experts_start: 1, n_local: 2 },
    {
      'in.logits': f(3, 4),
      'in.bias': f(4),
      'out.topk_ids': ints([3, 2], [0, 1, 2, 3, 0, 2]),
      'out.topk_weights': f(3, 2),
      'out.expert_offsets': ints([2], [1, 3]),
      'out.slot_token': ints([6], [0, 1, 2, 0, 1, 2]),
    },
  ),
  dump(
    {
      op: 'attention',
      ratio: 4,
      window: 3,
      rope_dim: 2,
      rope_theta: 100,
      scale: 0.5,
      yarn: { factor: 4, original_max_position_embeddings: 64 },
    },
    {
      'in.q': f(9, 2, 4),
      'in.kv': f(9, 4),
      'in.kv_comp': f(2, 4),
      'in.sinks': f(2),
      'in.selected': bytes([9, 2], new Uint8Array(18).fill(1)),
      out: f(9, 2, 4),
    },
  ),
  dump(
    { op: 'rope', rope_dim: 4, rope_theta: 100, layer: 'window' },
    { 'in.x': f(2, 6), 'in.positions': ints([2], [0, 5]), out: f(2, 6) },
  ),
  dump(
    { op: 'residual_mix' },
    {
      'in.streams': f(2, 3, 4),
      'in.out': f(2, 4),
      'in.post': f(2, 3),
      'in.comb': f(2, 3, 3),
      'out.streams': f(2, 3, 4),
    },
  ),
  dump(
    { op: 'penalty', repetition_penalty: 1.1, presence_penalty: 0.1, frequency_penalty: 0.1 },
    { 'in.logits': f(9), 'in.prompt_ids': ints([2], [1, 2]), 'in.output_ids': ints([2], [2, 3]), 'out.logits': f(9) },
  ),
];

const SIZE: Record<string, number> = {
  F32: 4,
  BF16: 2,
  F16: 2,
  F64: 8,
  I32: 4,
  I64: 8,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  BOOL: 1,
};

/** An answer without NaN, or an error that says where. */
function survives(d: Dump): void {
  let text: string;
  try {
    text = JSON.stringify(explainDump(d));
  } catch (e) {
    expect(e).toBeInstanceOf(CheckpointError);
    return;
  }
  expect(text).not.toMatch(/:null/);
}

it('the dumps themselves have answers', () => {
  for (const d of DUMPS) expect(() => explainDump(d), d.metadata.get('op')).not.toThrow();
});

it('survives tensors of any type, shape and content', () => {
  const tensor = fc.record({
    dtype: fc.constantFrom(...Object.keys(SIZE)),
    same: fc.boolean(),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
    axis: fc.nat(2),
    fill: fc.constantFrom(-1, 0, 0x7f, 0x80, 0xff, 1),
    keepType: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.nat(DUMPS.length - 1),
      fc.array(fc.tuple(fc.nat(12), tensor), { minLength: 1, maxLength: 2 }),
      (which, changes) => {
        const d = DUMPS[which]!;
        const tensors = new Map(d.tensors);
        const names = [...tensors.keys()];
        for (const [at, { dtype, same, shape, axis, fill, keepType }] of changes) {
          const name = names[at % names.length]!;
          const old = tensors.get(name)!;
          const type = keepType ? old.dtype : dtype;
          const sizes = same ? old.shape : keepType ? old.shape.map((n, i) => (i === axis ? shape.length : n)) : shape;
          const content = new Uint8Array(sizes.reduce((a, b) => a * b, 1) * SIZE[type]!);
          if (fill < 0) content.set(old.bytes.subarray(0, content.length));
          else content.fill(fill);
          tensors.set(name, { dtype: type, shape: sizes, bytes: content });
        }
        survives({ ...d, tensors });
      },
    ),
    { numRuns: 600, seed: 23 },
  );
});

it('survives any metadata', () => {
  const value = fc.constantFrom(
    '',
    '-1',
    '0',
    '1',
    '2',
    '7',
    '1e9',
    '1e999',
    'NaN',
    'null',
    '[]',
    '{}',
    '"2d"',
    '{"factor":0}',
    'rows',
    '0.5',
  );
  fc.assert(
    fc.property(fc.nat(DUMPS.length - 1), fc.nat(8), value, (which, at, text) => {
      const d = DUMPS[which]!;
      const keys = [...d.metadata.keys(), 'yarn', 'experts_start', 'n_local'];
      survives({ ...d, metadata: new Map([...d.metadata, [keys[at % keys.length]!, text]]) });
    }),
    { numRuns: 300, seed: 29 },
  );
});

it('takes I64 for I32, and says which does not fit', () => {
  const d = DUMPS[7]!;
  const wide = (last: bigint): Dump => {
    const data = BigInt64Array.of(0n, last);
    return {
      ...d,
      tensors: new Map(d.tensors).set('in.positions', { dtype: 'I64', shape: [2], bytes: new Uint8Array(data.buffer) }),
    };
  };
  expect(explainDump(wide(5n))).toEqual(explainDump(d));
  expect(() => explainDump(wide(2n ** 40n))).toThrow(
    /tensor "in.positions": expected 32-bit integers, found 1099511627776 at index 1/,
  );
});
