import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainDump, nvfp4GlobalDecodeScale, quantizeNvfp4, type Dump } from '../../src/index';
import { bytes, dump, floats, type Stored } from './build';
import { expectAgrees, expectFirst } from './check';

interface Case {
  m: number;
  k: number;
  seed: number;
}

const CASES: Case[] = [
  { m: 7, k: 48, seed: 1 },
  { m: 130, k: 16, seed: 2 },
  { m: 3, k: 112, seed: 3 },
];

const data = ({ m, k, seed }: Case): Float32Array => seeded(seed).floats(m * k, 3);

type Plant = 'swapped' | 'half' | 'inverted' | 'missing' | 'twice' | 'saturated';

function quantizeDump(c: Case, plant?: Plant, stored: Stored = 'F32'): Dump {
  const { m, k } = c;
  const x = data(c);
  const stored32 = floats([m, k], x, stored);
  const seen =
    stored === 'BF16'
      ? new Float32Array(Uint32Array.from(new Uint16Array(stored32.bytes.slice().buffer), (b) => b << 16).buffer)
      : x;
  const amax = nvfp4GlobalDecodeScale(seen);
  const g = plant === 'saturated' ? Math.fround(amax / 12) : amax;
  const used = plant === 'inverted' ? 1 / g : plant === 'missing' ? 1 : plant === 'twice' ? g * g : g;
  const { codes, sf } = quantizeNvfp4(seen, { m, k, globalDecodeScale: used });
  const nibble = (i: number): number => (codes[i >> 1]! >> (4 * (i % 2))) & 15;
  const packed = codes.map((byte, j) => {
    if (plant === 'swapped') return (byte >> 4) | ((byte & 15) << 4);
    const block = Math.floor(j / 8) * 16;
    return plant === 'half' ? nibble(block + (j % 8)) | (nibble(block + (j % 8) + 8) << 4) : byte;
  });
  return dump(
    { op: 'quantize_nvfp4' },
    {
      'in.x': stored32,
      'in.global_decode_scale': floats(c.m === 7 ? [] : [1], [g]),
      'out.codes': bytes([m, k / 2], packed),
      'out.sf': bytes([m, k / 16], sf, c.m === 7 ? 'F8_E4M3' : 'U8'),
    },
  );
}

describe('quantize_nvfp4', () => {
  for (const c of CASES) {
    it(`right bytes agree: ${c.m} x ${c.k}`, () => {
      expectAgrees(quantizeDump(c));
      expectAgrees(quantizeDump(c, undefined, 'BF16'));
    });
    it.each([
      ['nibbles-swapped', 'swapped'],
      ['nibbles-half-split', 'half'],
      ['global-scale-inverted', 'inverted'],
      ['global-scale-missing', 'missing'],
      ['global-scale-twice', 'twice'],
      ['input-scale-saturated', 'saturated'],
    ] as const)(`%s: ${c.m} x ${c.k}`, (id, plant) => {
      expectFirst(quantizeDump(c, plant), id);
    });
  }

  it('says how many block scales are cut off', () => {
    expect(explainDump(quantizeDump(CASES[0]!, 'saturated')).notes[0]).toMatch(
      /21 of 21 block scales are cut off at 448/,
    );
  });

  it('agrees when the amax rule was followed in spite of a saturated scale in the dump', () => {
    const good = quantizeDump(CASES[0]!);
    const bad = quantizeDump(CASES[0]!, 'saturated');
    const scale = bad.tensors.get('in.global_decode_scale')!;
    expectAgrees({ ...good, tensors: new Map(good.tensors).set('in.global_decode_scale', scale) });
  });

  it('takes -0 for 0, and any scale of an all-zero block', () => {
    const d = dump(
      { op: 'quantize_nvfp4' },
      {
        'in.x': floats([1, 32], [...new Array<number>(16).fill(0), 6, ...new Array<number>(15).fill(1)]),
        'in.global_decode_scale': floats([], [1]),
        'out.codes': bytes([1, 16], [0x80, 0, 0, 0, 0, 0, 0, 0x08, 0x27, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22]),
        'out.sf': bytes([1, 2], [0, 0x38]),
      },
    );
    const e = explainDump(d);
    expect(e.agrees).toBe(true);
    expect(e.notes.join()).toMatch(/not all the same, but the values are/);
  });

  it('does not take one wrong code for right', () => {
    const d = quantizeDump(CASES[0]!);
    d.tensors.get('out.codes')!.bytes[5]! ^= 0x01;
    const e = explainDump(d);
    expect([e.agrees, e.mistakes.length, e.right.outside]).toEqual([false, 0, 1]);
  });

  it('survives NaN scales in the output, and refuses NaN and bad scales in the input', () => {
    const d = quantizeDump(CASES[0]!);
    d.tensors.get('out.sf')!.bytes[0] = 0x7f;
    expect(explainDump(d).agrees).toBe(false);
    const bad = (name: string, value: number) => {
      const t = d.tensors.get(name)!;
      const values = new Float32Array(t.bytes.slice().buffer);
      values[0] = value;
      return { ...d, tensors: new Map(d.tensors).set(name, floats(t.shape, values)) };
    };
    expect(() => explainDump(bad('in.x', NaN))).toThrow(/tensor "in.x": an input must be finite, found NaN at index 0/);
    expect(() => explainDump(bad('in.global_decode_scale', 0))).toThrow(/expected a number above 0, found 0/);
    const odd = dump({ op: 'quantize_nvfp4' }, { 'in.x': floats([1, 24], new Float32Array(24)) });
    expect(() => explainDump(odd)).toThrow(/expected K to be a multiple of 16, found 24/);
  });

  it('agrees with the quantizer of the oracle at random scales', () => {
    const any = fc.record({
      m: fc.integer({ min: 1, max: 6 }),
      k: fc.constantFrom(16, 32, 80),
      seed: fc.nat(1e6),
      exponent: fc.integer({ min: -20, max: 20 }),
    });
    fc.assert(
      fc.property(any, ({ exponent, ...c }) => {
        const x = data(c).map((v) => v * 2 ** exponent);
        const g = nvfp4GlobalDecodeScale(x);
        const { codes, sf } = quantizeNvfp4(x, { m: c.m, k: c.k, globalDecodeScale: g });
        expectAgrees(
          dump(
            { op: 'quantize_nvfp4' },
            {
              'in.x': floats([c.m, c.k], x),
              'in.global_decode_scale': floats([], [g]),
              'out.codes': bytes([c.m, c.k / 2], codes),
              'out.sf': bytes([c.m, c.k / 16], sf),
            },
          ),
        );
      }),
      { numRuns: 100, seed: 5 },
    );
  });
});
