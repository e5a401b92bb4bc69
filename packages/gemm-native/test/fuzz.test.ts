import { loadAddon } from '@megamoe/native-kit';
import { anyCalls, makeCalls, nearlyRightCalls } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import type { GemmAddon } from '../src/native-engine';
import { BACKENDS, pack } from './backends';

/** What each method takes, in the letters of `nearlyRightCalls`. */
const SIGNATURES: Record<string, string> = {
  linear: 'wfnf',
  linearBf16: 'wfnf',
  linearW4A4: 'wfnf',
  groupedGemmW4A4: 'wbbifFf',
  groupedGemm: 'wfiFf',
  groupedGemmBf16: 'wfiFf',
  gatherRows: 'fninf',
  stageNvfp4: 'fnIifbb',
  stageNvfp4Dynamic: 'fnInbbf',
  nvfp4Loss: 'fnnebbd',
  swiglu: 'fnnef',
  swigluStageNvfp4: 'fneifbb',
  swigluStageNvfp4Dynamic: 'fnnebbf',
  scatterExperts: 'fnifnnf',
  addInPlace: 'ffn',
  rmsNorm: 'fnnFef',
  embed: 'winnf',
  hcPre: 'fnnnfffeenfff',
  hcPost: 'ffnnnff',
  hcHead: 'fnnnfffeef',
};

/** The same for the addon, which takes the number of parts after the weight of a grouped product, and the scales of nvfp4 linears. */
const ADDON_SIGNATURES = {
  ...Object.fromEntries(
    Object.entries(SIGNATURES).map(([name, s]) => [name, name.startsWith('grouped') ? s.replace('w', 'wn') : s]),
  ),
  linearBf16: 'wnFfnf',
  linearNvfp4: 'wnffnf',
  linearW4A4: 'wnfefnf',
  swigluStageNvfp4Dynamic: 'fnenbbf',
};

/** Functions of the addon that take an instruction set but no number of threads, and a number of threads but no instruction set. */
const SCANS = { scanArgmax: 'fn', scanTop: 'fnneif', scanAtLeast: 'fneif' };
const SWIZZLE = { swizzle128x4: 'bnnb' };

it.each(BACKENDS)('$name survives random arguments: an error or a result, never a crash', ({ kernels }) => {
  const codes = new Uint8Array(24);
  const sf = new Uint8Array(3);
  const weights = [
    kernels.packLinear({ n: 2, k: 3, dtype: 'f32', data: new Float32Array(6) }),
    kernels.packLinear({ n: 3, k: 16, groups: 2, dtype: 'bf16', data: new Uint16Array(96) }),
    kernels.packLinear({ n: 2, k: 3, dtype: 'fp8', data: { codes: new Uint8Array(6), scales: new Float32Array(2) } }),
    kernels.packLinear({
      ...{ n: 3, k: 16, groups: 2, dtype: 'nvfp4', weightGlobalDecodeScale: Float32Array.of(1) },
      inputGlobalDecodeScale: 'row',
      data: { codes: new Uint8Array(48), sf: new Uint8Array(6) },
    }),
    pack(kernels, { numExperts: 1, n: 3, k: 16, parts: 1, codes, sf }),
    pack(kernels, { numExperts: 2, n: 2, k: 16, parts: 2, codes: new Uint8Array(32), sf: new Uint8Array(4) }),
    kernels.packExperts({
      ...{ numExperts: 2, n: 2, k: 16, parts: 2, format: 'nvfp4' },
      read: () => ({ codes: new Uint8Array(8), sf: new Uint8Array(1) }),
      pool: kernels.createExpertPool({ n: 2, k: 16, parts: 2, format: 'nvfp4', slots: 1 }),
    }),
  ];
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(kernels)).filter((m) => m !== 'constructor');
  expect(methods.sort()).toEqual(
    [...Object.keys(SIGNATURES), 'packLinear', 'packExperts', 'createExpertPool', 'packedBytes'].sort(),
  );
  makeCalls(kernels, anyCalls(methods), [], 2000);
  const done = makeCalls(kernels, nearlyRightCalls(SIGNATURES, weights), [], 12_000);
  expect(Object.keys(done).length).toBeGreaterThan(10); // most methods were reached with arguments that they accept
});

it('the addon itself survives random arguments, without the checks in front of it', () => {
  const addon = loadAddon<GemmAddon>({ packageUrl: import.meta.url, name: 'gemm-native' }).addon;
  const names = Object.keys(addon ?? {}).filter((name) => typeof addon![name as keyof GemmAddon] === 'function');
  expect(names.length).toBe(addon === undefined ? 0 : 33);
  if (addon === undefined) return; // js only: there is no second line to test
  const weights = [0, 1, 2, 3].map((format) => {
    const w = addon.createWeight(format, 2, 3, 16);
    for (const matrix of [0, 1]) {
      if (format === 2) addon.putNvfp4(w, matrix, 0, 3, new Uint8Array(24), new Uint8Array(3), 2);
      else if (format === 3) addon.putFp8(w, matrix, 0, 3, new Uint8Array(48), new Float32Array(3), 2);
      else addon.putDense(w, matrix, 0, 3, format === 0 ? new Float32Array(48) : new Uint16Array(48));
    }
    return w;
  });
  makeCalls(addon, anyCalls(names), [], 4000);
  const done = makeCalls(addon, nearlyRightCalls(ADDON_SIGNATURES, weights), [0, 2], 12_000);
  expect(Object.keys(done).length).toBeGreaterThan(10);
  const scans = makeCalls(addon, nearlyRightCalls(SCANS), [0], 4000);
  expect(Object.keys(scans).sort()).toEqual(Object.keys(SCANS).sort());
  expect(makeCalls(addon, nearlyRightCalls(SWIZZLE), [2], 2000)).toHaveProperty('swizzle128x4');
});
