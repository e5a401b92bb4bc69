/** What is checked before anything reaches a GPU. */
import { createAttentionKernels } from '@megamoe/attention';
import { describe, expect, it } from 'vitest';
import { dataError } from '../src/data-errors';
import { deviceError } from '../src/errors';
import { inverseFrequencies } from '../src/rope';
import { linearAlphas, takeRows } from '../src/source-checks';

it('rotary frequencies are those of @megamoe/attention, bit for bit', () => {
  const kernels = createAttentionKernels({ backend: 'js' });
  const yarn = { factor: 16, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 65536 };
  for (const spec of [
    { ropeDim: 64, theta: 10000 },
    { ropeDim: 64, theta: 160000, yarn },
    { ropeDim: 2, theta: 1 },
  ]) {
    const theirs = kernels.createRope(spec) as unknown as { readonly invFreq: Float32Array };
    expect(inverseFrequencies('f', spec)).toEqual(theirs.invFreq);
  }
});

describe('rows of weights', () => {
  const bytes = (n: number, v = 0): Uint8Array => new Uint8Array(n).fill(v);
  it.each([
    ['nvfp4', null, 'w: must return an object'],
    ['nvfp4', { codes: bytes(8), sf: bytes(2) }, 'w: "sf" must have length n*k/16 = 1, got 2'],
    ['nvfp4', { codes: bytes(8), sf: bytes(1, 0x7f) }, /"sf" must hold E4M3 scales .* got 0x7f at index 0/],
    ['fp8', { codes: bytes(16, 0xff), scales: new Float32Array(1) }, /"codes" must not hold NaN, got 0xff at index 0/],
    ['fp8', { codes: bytes(16), scales: Float32Array.of(-1) }, /"scales" must be finite numbers of at least 0, got -1/],
    ['f32', { data: new Uint16Array(16) }, 'w: "data" must be a Float32Array, got Uint16Array'],
    ['bf16', { data: new Uint16Array(15) }, 'w: "data" must have length n*k = 16, got 15'],
  ] as const)('%s %j', (format, got, says) => {
    expect(() => takeRows('w', format, got, 'n', 1, 16)).toThrow(says);
  });

  it('scales of a linear', () => {
    const source = { n: 4, k: 16, dtype: 'nvfp4', data: { codes: bytes(32), sf: bytes(4) } } as const;
    const given = { ...source, parts: 2, weightGlobalDecodeScale: Float32Array.of(0.5, 0.25) } as const;
    expect(linearAlphas('f', given, 2).alpha).toEqual(Float32Array.of(0.5, 0.25, 0.5, 0.25));
    expect(linearAlphas('f', { ...given, inputGlobalDecodeScale: 2 }, 1).alphaW4a4).toEqual(Float32Array.of(1, 0.5));
    expect(() => linearAlphas('f', { ...given, inputGlobalDecodeScale: 0 }, 1)).toThrow(
      'f: "inputGlobalDecodeScale" must be "row" or a finite number of at least 2^-117, got 0',
    );
  });
});

describe('errors', () => {
  const refused = (cudaError: string, isLost = false): Error =>
    Object.assign(new Error(`launch: words (${cudaError})`), { cudaError, isLost });
  it('what CUDA refuses has a reason', () => {
    expect(deviceError(refused('cudaErrorMemoryAllocation'), 'alloc')).toMatchObject({
      code: 'ERR_DEVICE',
      reason: 'memory',
      message: 'alloc: no memory left on the GPU; load a smaller model, or fewer tokens at a time',
    });
    expect(deviceError(refused('cudaErrorIllegalAddress', true), 'linear')).toMatchObject({ reason: 'lost' });
    expect(deviceError(refused('cudaErrorInvalidValue'), 'linear')).toMatchObject({ reason: 'refused' });
    const other = new TypeError('no');
    expect(deviceError(other, 'x')).toBe(other);
  });
  it('what a kernel found names operation, argument and index', () => {
    expect(dataError([5, 1, 7])).toMatchObject({
      code: 'ERR_VALUE',
      message: 'gatherRows: "index" holds a value outside its range, at index 7',
    });
    expect(dataError([99, 1, 0]).message).toMatch(/^cuda: an operation found a value/);
  });
});
