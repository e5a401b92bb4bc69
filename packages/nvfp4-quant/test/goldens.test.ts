import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { decodeBf16Array } from '@megamoe/core';
import {
  amaxOf,
  dequantizeNvfp4,
  globalDecodeScale,
  globalDecodeScaleFromAmax,
  packGguf,
  quantizationError,
  quantizeNvfp4,
  saturationStatistics,
  unpackGguf,
} from '@megamoe/nvfp4-quant';
import { expectBytes } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';

interface Tensor {
  m: number;
  k: number;
  amax: number;
  ownAmax: number;
  weightScale2Bits: string;
  sha256: Record<string, string>;
}

const read = (name: string): Buffer => readFileSync(new URL(`goldens/${name}`, import.meta.url));
const { tensors } = JSON.parse(read('provenance.json').toString()) as { tensors: Record<string, Tensor> };

describe.each(Object.keys(tensors))('ModelOpt checkpoint, %s', (name) => {
  const { m, k, amax, ownAmax, weightScale2Bits, sha256 } = tensors[name]!;
  const bf16 = read(`${name}.weight-bf16.bin`);
  const bits = Uint16Array.from({ length: m * k }, (_, i) => bf16.readUInt16LE(2 * i));
  const x = decodeBf16Array(bits);
  const codes = read(`${name}.weight.bin`);
  const sf = read(`${name}.weight_scale.bin`);
  const word = Buffer.alloc(4);
  word.writeUInt32LE(Number(weightScale2Bits));
  const weightScale2 = word.readFloatLE(0);

  it('is the data it says', () => {
    expect(Object.keys(sha256).length).toBe(3);
    for (const [file, want] of Object.entries(sha256)) {
      expect(createHash('sha256').update(read(file)).digest('hex')).toBe(want);
    }
  });

  it('global scale, block scales and codes are equal, bit for bit', () => {
    const scale = globalDecodeScaleFromAmax(amax);
    expect(amaxOf(x)).toBe(ownAmax); // the rows were chosen to hold it
    expect(scale).toBe(weightScale2);
    const got = quantizeNvfp4(x, { m, k, globalDecodeScale: scale });
    expectBytes(got.sf, sf, [m, k / 16]);
    expectBytes(got.codes, codes, [m, k / 2]);
  });

  it('dequantizes close to the source, and quantizes to itself again', () => {
    const shape = { m, k, globalDecodeScale: globalDecodeScale(weightScale2) };
    const y = dequantizeNvfp4(codes, sf, shape);
    const { relative, cosine } = quantizationError(y, x);
    expect(relative).toBeLessThan(0.11);
    expect(cosine).toBeGreaterThan(0.993);
    const statistics = saturationStatistics(codes, sf, { m, k });
    expect(statistics).toMatchObject({ nanScales: 0, zeroScales: 0, negativeScales: 0, blocks: (m * k) / 16 });
    expect(statistics.maxCodes).toBeGreaterThanOrEqual(statistics.blocks - statistics.zeroBlocks);
    expectBytes(quantizeNvfp4(y, shape).sf, sf);
  });

  it('survives GGUF', () => {
    const back = unpackGguf(packGguf(codes, sf, { m, k }), { m, k });
    expectBytes(back.codes, codes);
    expectBytes(back.sf, sf);
  });
});
