/** Arguments of wrong kinds, and ranges that no array has. */
import { firstNonFinite } from '@megamoe/core';
import { expect, it } from 'vitest';
import {
  createWorkspace,
  ExpertRanges,
  FirstNonFinite,
  Forward,
  layerSpec,
  loadWeights,
  weightNames,
} from '../src/index';

const never = (v: unknown): never => v as never;

it.each<[string, () => unknown]>([
  ['layerSpec: "config" must be an object, got null', () => layerSpec(never(null), 0)],
  ['layerSpec: "config.compressRatios" must be a list, got 3', () => layerSpec(never({ compressRatios: 3 }), 0)],
  ['layerSpec: "index" must be an integer in [0, 0], got 1', () => layerSpec(never({ compressRatios: [0] }), 1)],
  ['layerSpec: "slidingWindow" must be an integer', () => layerSpec(never({ compressRatios: [0] }), 0)],
  ['weightNames: "weights" must be an object, got number', () => weightNames(never(0.5))],
  ['weightNames: "weights.layers" must be a list, got undefined', () => weightNames(never({}))],
  ['ExpertRanges: "config" must be an object, got undefined', () => new ExpertRanges(never(undefined))],
  ['Forward: "options" must be an object, got undefined', () => new Forward(never(undefined))],
  ['Forward: "inputs" must be an object, got undefined', () => new Forward(never({ backend: {}, config: {}, weights: {} }))], // prettier-ignore
  ['createWorkspace: "config" must be an object, got undefined', () => createWorkspace(never({}), never(undefined), true, never({}), 1)], // prettier-ignore
  ['FirstNonFinite.in: "to" must be an integer at least 0, got Object', () => new FirstNonFinite().in(0, never({}))],
])('%s', (message, call) => expect(call).toThrow(message));

it('loadWeights names an option that cannot be, before anything is read', async () => {
  const formats = { packing: () => undefined };
  const load = (o: object): Promise<unknown> =>
    loadWeights(never({}), never({}), never({ formats, poolFor: null, staticInputScales: false, totalBytes: 1, ...o }));
  await expect(load({ formats: undefined })).rejects.toThrow('loadWeights: "formats" must be an object');
  await expect(load({ onProgress: 3 })).rejects.toThrow('loadWeights: "onProgress" must be a function, got 3');
  await expect(load({ poolFor: 3 })).rejects.toThrow('loadWeights: "poolFor" must be a function, got 3');
  await expect(load({ signal: {} })).rejects.toThrow('loadWeights: "signal" must be an AbortSignal, got Object');
  await expect(load({})).rejects.toThrow('loadWeights: "backend.tensor" must be a function, got undefined');
});

it('looks for values that are not finite where there are values, and nowhere else', () => {
  const x = Float32Array.of(0, 1, NaN, 3);
  expect(firstNonFinite(x, 0, 2 ** 53)).toBe(2);
  expect(firstNonFinite(x, -(2 ** 53), 2)).toBe(-1);
  expect(new FirstNonFinite().in(0, Number.MAX_SAFE_INTEGER)).toBeUndefined();
});
