import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { loadModel, type LoadOptions, type Model } from '../src/index';
import { BACKENDS, TINY } from './support';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** Bytes outside the JavaScript heap when all garbage is gone; packed weights of the addon are told to the collector and count. */
async function settled(): Promise<number> {
  let last = Infinity;
  for (let i = 0; i < 20; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 5)); // finalizers run between turns of the event loop
    const { external } = process.memoryUsage();
    if (external === last) break;
    last = external;
  }
  return last;
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** Loads, generates a little, breaks a generation off, breaks a load off. */
async function round(o: LoadOptions): Promise<Model> {
  const model = await loadModel(TINY, o);
  const abort = new AbortController();
  let chunks = 0;
  const run = async (): Promise<void> => {
    for await (const chunk of model.generate({
      prompt: 'The capital of',
      maxTokens: 20,
      ignoreEos: true,
      signal: abort.signal,
    })) {
      expect(chunk.tokenId).toBeGreaterThanOrEqual(0);
      if (++chunks === 3) abort.abort(new Error('enough'));
    }
  };
  await expect(run()).rejects.toThrow('enough');
  const early = new AbortController();
  const load = loadModel(TINY, { ...o, signal: early.signal, onProgress: () => early.abort(new Error('too late')) });
  await expect(load).rejects.toThrow('too late');
  return model;
}

it.each(BACKENDS)('memory and files stay flat over loads, generations, aborts and disposals on %s', async (backend) => {
  const options: LoadOptions[] = [{ backend }, { backend, residentExperts: 6 }];
  for (const o of options) (await round(o)).dispose();
  const [bytes, files] = [await settled(), descriptors()];
  for (let i = 0; i < 3; i++) for (const o of options) (await round(o)).dispose();
  expect(descriptors()).toBe(files);
  // One leaked model is 12 MB, one leaked layer half of one.
  expect((await settled()) - bytes).toBeLessThan(5e5);
});

it.each(BACKENDS)(
  'a model that is dropped without disposal gives memory and files back when it is collected on %s',
  async (backend) => {
    (await round({ backend, residentExperts: 6 })).dispose();
    const [bytes, files] = [await settled(), descriptors()];
    await round({ backend, residentExperts: 6 });
    await round({ backend });
    expect((await settled()) - bytes).toBeLessThan(5e5);
    expect(descriptors()).toBe(files);
  },
);
