/** What an answer must not hide, or make more of than it is. */
import { seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { explainDump, nvfp4GlobalDecodeScale, quantizeNvfp4, type Dump } from '../../src/index';
import { attentionDump } from './attention-planted';
import { bytes, dump, floats } from './build';
import { expectAgrees, expectNothingSaid } from './check';
import { gemmDump } from './gemm-planted';
import { moeDump } from './moe-planted';

/** Each output filled with one number. */
function filled(d: Dump, value: number): Dump {
  const tensors = [...d.tensors].map(([name, tensor]) => {
    if (!name.startsWith('out')) return [name, tensor] as const;
    const size = tensor.shape.reduce((a, b) => a * b, 1);
    const data = new Float32Array(size).fill(value);
    return [name, tensor.dtype === 'F32' ? floats(tensor.shape, data) : bytes(tensor.shape, data)] as const;
  });
  return { ...d, tensors: new Map(tensors) };
}

const CODES = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** NVFP4 of rows whose amax is 6 in each block, so that scales are 1 and elements codes: `nearest` chooses among eight magnitudes. */
function quantized(nearest: (x: number) => number): Dump {
  const [m, k] = [8, 64];
  const r = seeded(7);
  const x = Float32Array.from({ length: m * k }, (_, i) => (i % 16 === 0 ? 6 : Math.round(r.next() * 48 - 24) / 4));
  const codes = Array.from(x, (v) => nearest(Math.abs(v)) | (v < 0 ? 8 : 0));
  return dump(
    { op: 'quantize_nvfp4' },
    {
      'in.x': floats([m, k], x),
      'in.global_decode_scale': floats([], [1]),
      'out.codes': bytes(
        [m, k / 2],
        Array.from({ length: (m * k) / 2 }, (_, j) => codes[2 * j]! | (codes[2 * j + 1]! << 4)),
      ),
      'out.sf': bytes([m, k / 16], new Uint8Array((m * k) / 16).fill(0x38)),
    },
  );
}

/** Nearest magnitudes; of two equally near ones `tie` chooses. */
const nearestBy =
  (tie: (low: number) => number) =>
  (x: number): number => {
    const low = CODES.findLastIndex((v) => v <= x);
    if (low === 7) return 7;
    const [down, up] = [x - CODES[low]!, CODES[low + 1]! - x];
    return down < up ? low : up < down ? low + 1 : tie(low);
  };

const attention = attentionDump({ s: 9, heads: 2, d: 8, ratio: 4, window: 4, c: 2, ropeDim: 4, seed: 3 });
const moe = moeDump({ t: 6, h: 64, i: 32, experts: 4, topk: 2, limit: 7, start: 1, total: 6, seed: 5 });
const gemm = gemmDump({ counts: [3, 0, 5], n: 9, k: 32, seed: 3 });
const codes = quantized(nearestBy((low) => low + (low % 2)));

describe('an output of one number', () => {
  it.each([
    ['attention', attention],
    ['moe_nvfp4', moe],
    ['grouped_gemm_nvfp4', gemm],
    ['quantize_nvfp4', codes],
  ])('proves nothing: %s', (_, d) => {
    expectAgrees(d);
    expectNothingSaid(filled(d, 0));
    expectNothingSaid(filled(d, 1));
    if (d !== codes) expectNothingSaid(filled(d, NaN));
  });

  it('is said to prove little where it is right', () => {
    const zeros = new Float32Array(9 * 2 * 8);
    const tensors = new Map(attention.tensors).set('in.sinks', floats([2], [Infinity, Infinity]));
    const e = explainDump({ ...attention, tensors: tensors.set('out', floats([9, 2, 8], zeros)) });
    expect(e.agrees).toBe(true);
    expect(e.notes[0]).toMatch(
      /^out: every element is 0. That is right here, and what a kernel that never ran may leave/,
    );
  });
});

describe('codes', () => {
  it.each([
    ['up', nearestBy((low) => low + 1)],
    ['down', nearestBy((low) => low)],
    ['to odd codes', nearestBy((low) => low + 1 - (low % 2))],
  ])('do not agree with ties %s', (_, nearest) => {
    const e = explainDump(quantized(nearest));
    expect([e.agrees, e.level, e.mistakes]).toEqual([false, 'none', []]);
    expect(e.right.outside).toBeGreaterThan(30);
    expect(e.right).toMatchObject({ compared: 8 * 64 + 32, elements: 8 * 64 + 32 });
  });

  it('agree when quotients are products by reciprocals, and every code is as those give it', () => {
    const f = Math.fround;
    const [m, k] = [64, 256];
    const x = seeded(5)
      .floats(m * k, 3)
      .map((v) => Math.round(v * 64) / 64); // many lie on a boundary
    const g = nvfp4GlobalDecodeScale(x);
    const right = quantizeNvfp4(x, { m, k, globalDecodeScale: g });
    const e4m3 = (b: number): number => ((b >> 3) - 7 === -7 ? (b & 7) / 512 : (1 + (b & 7) / 8) * 2 ** ((b >> 3) - 7));
    const nearest = nearestBy((low) => low + (low % 2));
    const wanted = Array.from(x, (v, i) => {
      const times = f(1 / f(e4m3(right.sf[i >> 4]!) * g));
      return nearest(Math.abs(f(v * times))) | (v < 0 ? 8 : 0);
    });
    const packed = Uint8Array.from({ length: (m * k) / 2 }, (_, j) => wanted[2 * j]! | (wanted[2 * j + 1]! << 4));
    expect(packed.filter((byte, j) => byte !== right.codes[j]).length).toBeGreaterThan(0);
    const made = (out: Uint8Array): Dump =>
      dump(
        { op: 'quantize_nvfp4' },
        {
          'in.x': floats([m, k], x),
          'in.global_decode_scale': floats([], [g]),
          'out.codes': bytes([m, k / 2], out),
          'out.sf': bytes([m, k / 16], right.sf),
        },
      );
    expectAgrees(made(packed), 'exact:reciprocal');
    expectAgrees(made(right.codes), 'exact');
    for (const at of [0, 77, packed.length - 1]) {
      const one = packed.slice();
      one[at]! ^= one[at]! & 7 ? 1 : 2;
      expect(explainDump(made(one)).agrees).toBe(false);
    }
  });
});
