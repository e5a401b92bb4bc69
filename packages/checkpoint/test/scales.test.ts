import { E4M3_VALUES, E8M0_VALUES } from '@megamoe/core';
import { quantizeCompressedTensors, quantizeFp8, quantizeMxfp4 } from '@megamoe/reference';
import { describe, expect, it } from 'vitest';
import type { Checkpoint, MatrixTensor } from '../src/index';
import { implausibleGlobalScale, matrixToFloat32 } from '../src/index';
import { E, FILE, scalar, tensor, values, W, written, type Change } from './format-models';
import { thrown, using } from './helpers';

describe('reading refuses', () => {
  const reading = async (changes: Record<string, Change>, read: (c: Checkpoint) => unknown): Promise<string> => {
    const dir = await written(changes);
    return using(dir, (c) => thrown(() => read(c), dir));
  };
  const linear = (c: Checkpoint): MatrixTensor => c.linear(W, 320, 288);
  const fp8 = (edit: (codes: Uint8Array, scales: Float32Array) => void): Record<string, Change> => {
    const { codes, scales } = quantizeFp8(values(320, 288), { n: 320, k: 288 }, 'f32');
    edit(codes, scales);
    return { [`${W}.weight`]: tensor('F8_E4M3', [320, 288], codes), [`${W}.scale`]: tensor('F32', [3, 3], scales) };
  };

  it('NaN in FP8 codes, wherever it lies', async () => {
    for (const [row, column, byte] of [
      [0, 0, 0x7f],
      [319, 287, 0xff],
      [200, 130, 0x7f],
    ] as const) {
      expect(
        await reading(
          fp8((codes) => void (codes[row * 288 + column] = byte)),
          linear,
        ),
      ).toBe(
        `ERR_CHECKPOINT: ${FILE}: tensor "${W}.weight": expected finite weights, found NaN (0x${byte.toString(16)}) at row ${row}, column ${column}`,
      );
    }
  });

  it('FP8 scales that are NaN, infinite or negative', async () => {
    const message = (value: number): Promise<string> =>
      reading(
        fp8((_, scales) => void (scales[5] = value)),
        linear,
      );
    const where = `ERR_CHECKPOINT: ${FILE}: tensor "${W}.scale": scale at row 1, column 2`;
    expect(await message(NaN)).toBe(`${where} is NaN`);
    expect(await message(Infinity)).toBe(`${where}: expected a finite number above 0, found Infinity`);
    expect(await message(-1)).toBe(`${where}: expected a finite number above 0, found -1`);
    const zeros = fp8((codes, scales) => {
      scales[5] = 0;
      for (let r = 128; r < 256; r++) codes.fill(0x80, r * 288 + 256, r * 288 + 288);
    });
    expect(await reading(zeros, linear)).toBe('nothing');
    expect(await reading(zeros, (c) => c.linearRows(W, 320, 288, 130, 200 - 130))).toBe('nothing');
  });

  it('FP8 scales of 0 over weights make their tiles zeros, and are counted', async () => {
    const erased = fp8((codes, scales) => {
      codes.fill(0x38);
      scales[5] = 0; // rows 128 to 255, columns 256 to 287
    });
    using(await written(erased), (c) => {
      for (const [row0, rows] of [
        [0, 0],
        [0, 200],
        [200, 120],
        [0, 320],
      ] as const) {
        const values = matrixToFloat32(c.linearRows(W, 320, 288, row0, rows));
        values.forEach((v, i) => {
          const [row, column] = [row0 + Math.floor(i / 288), i % 288];
          if ((v === 0) !== (row >= 128 && row < 256 && column >= 256)) expect.fail(`${v} at [${row}, ${column}]`);
        });
      }
      expect(c.warnings.filter((w) => w.includes('zeros'))).toEqual([
        `128 block scales in 1 tensor are 0 over codes that are not: their blocks decode as zeros ("${W}.scale")`,
      ]);
    });
  });

  it('E8M0 NaN', async () => {
    const { codes, e8m0 } = quantizeFp8(values(320, 288), { n: 320, k: 288 }, 'e8m0');
    e8m0![4] = 255;
    expect(
      await reading(
        { [`${W}.weight`]: tensor('F8_E4M3', [320, 288], codes), [`${W}.scale`]: tensor('F8_E8M0', [3, 3], e8m0!) },
        linear,
      ),
    ).toBe(`ERR_CHECKPOINT: ${FILE}: tensor "${W}.scale": scale at row 1, column 1 is NaN`);
    const mx = quantizeMxfp4(values(160, 288), { n: 160, k: 288 });
    mx.e8m0[9 * 7 + 2] = 255;
    const changes = {
      [`${E}.weight`]: tensor('I8', [160, 144], mx.codes),
      [`${E}.scale`]: tensor('F8_E8M0', [160, 9], mx.e8m0),
    };
    const want = `ERR_CHECKPOINT: ${FILE}: tensor "${E}.scale": block scale at row 7, block 2 is NaN (0xff)`;
    expect(await reading(changes, (c) => c.expert(1, 2, 'w1'))).toBe(want);
    expect(await reading(changes, (c) => c.expertE8m0(1, 2, 'w1'))).toBe(want);
  });

  it('E8M0 0 is 2^-127', async () => {
    const codes = new Uint8Array(160 * 144).fill(0x72); // 1 and 6
    const changes = {
      [`${E}.weight`]: tensor('I8', [160, 144], codes),
      [`${E}.scale`]: tensor('F8_E8M0', [160, 9], new Uint8Array(1440)),
    };
    using(await written(changes), (c) => {
      expect([...matrixToFloat32(c.expert(1, 2, 'w1')).subarray(0, 2)]).toEqual([2 ** -127, 6 * 2 ** -127]);
    });
    expect(E8M0_VALUES[0]).toBe(2 ** -127);
    expect(E4M3_VALUES[0x7f]).toBeNaN();
  });

  it("compressed-tensors' divisors that have no inverse", async () => {
    const { codes, sf } = quantizeCompressedTensors(values(320, 288), { n: 320, k: 288 });
    const changes = (global: number, input: number): Record<string, Change> => ({
      [`${W}.weight`]: null,
      [`${W}.weight_packed`]: tensor('U8', [320, 144], codes),
      [`${W}.weight_scale`]: tensor('F8_E4M3', [320, 18], sf),
      [`${W}.weight_global_scale`]: scalar(global, [1]),
      [`${W}.input_global_scale`]: scalar(input, [1]),
    });
    const at = (key: string, value: number): string =>
      `ERR_CHECKPOINT: ${FILE}: tensor "${W}.${key}": expected a finite number above 0 with a finite inverse, found ${value}`;
    for (const bad of [0, NaN, Infinity, -3, Math.fround(1e-40)])
      expect(await reading(changes(bad, 1), linear)).toBe(at('weight_global_scale', bad));
    for (const bad of [NaN, -3, -Infinity])
      expect(await reading(changes(2688, bad), linear)).toBe(
        `ERR_CHECKPOINT: ${FILE}: tensor "${W}.input_global_scale": expected a finite number above 0, found ${bad}`,
      );
    // 2688 over an amax of 0 is what input_scale 0 is.
    for (const dead of [0, Infinity, Math.fround(1e-40), Math.fround(3e38)]) {
      using(await written(changes(2688, dead)), (c) => {
        expect(linear(c)).not.toHaveProperty('inputGlobalDecodeScale');
        expect(c.warnings.at(-1)).toBe(
          `${c.dir}/model.safetensors: tensor "${W}.input_global_scale" is ${dead} and counts as absent`,
        );
      });
    }
  });
});

describe('a global scale that looks inverted', () => {
  it.each([
    ['weight_scale_2', 3.7e-4, undefined],
    [
      'weight_scale_2',
      2688,
      'weight_scale_2 multiplies on decoding; 2688 would mean a largest value of 7.23e+6: it looks like a divisor',
    ],
    ['weight_global_scale', 2688, undefined],
    [
      'weight_global_scale',
      0.001,
      'weight_global_scale divides on decoding; 0.001 would mean a largest value of 2.69e+6: it looks like a multiplier',
    ],
    ['input_scale', 0.5, undefined],
    [
      'input_scale',
      17,
      'input_scale multiplies on decoding; 17 would mean a largest value of 4.57e+4: it looks like a divisor',
    ],
    ['input_global_scale', 1, undefined],
    ['weight_scale', 1e9, undefined],
    ['weight_scale_2', NaN, undefined],
  ])('%s = %s', (key, value, want) => {
    expect(implausibleGlobalScale(key, value)).toBe(want);
  });

  it('is warned about once a kind', async () => {
    const { codes, sf } = quantizeCompressedTensors(values(320, 288), { n: 320, k: 288 });
    const changes: Record<string, Change> = {};
    for (const layer of [0, 1]) {
      const name = `layers.${layer}.attn.wq_a`;
      changes[`${name}.weight`] = null;
      changes[`${name}.weight_packed`] = tensor('U8', [320, 144], codes);
      changes[`${name}.weight_scale`] = tensor('F8_E4M3', [320, 18], sf);
      changes[`${name}.weight_global_scale`] = scalar(1 / 2688, [1]);
    }
    const dir = await written(changes);
    using(dir, (c) => {
      const before = c.warnings.length;
      c.linear('layers.0.attn.wq_a', 320, 288);
      c.linear('layers.1.attn.wq_a', 320, 288);
      expect(c.warnings.slice(before).map((w) => w.replace(dir, 'DIR'))).toEqual([
        expect.stringMatching(
          /^DIR\/model.safetensors: tensor "layers.0.attn.wq_a.weight_global_scale": weight_global_scale divides on decoding; 0.00037.* it looks like a multiplier \(told once for all weight_global_scale\)$/,
        ),
      ]);
    });
  });
});
