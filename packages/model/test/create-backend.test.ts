import type * as os from 'node:os';
import { MAX_THREADS } from '@megamoe/native-kit';
import { afterEach, describe, expect, it, vi } from 'vitest';

const processors = vi.hoisted(() => ({ count: 384 }));
vi.mock('node:os', async (original) => ({
  ...(await original<typeof os>()),
  availableParallelism: () => processors.count,
}));

const { addonInfos, createBackend, loadModel } = await import('../src/index');
const { TINY } = await import('./support');

const hasAddons = addonInfos().every((info) => info.loaded);
afterEach(() => vi.unstubAllEnvs());

describe('createBackend', () => {
  it('takes as many threads as there can be on a machine with more processors', () => {
    const { threads } = createBackend();
    expect(threads).toBe(hasAddons ? MAX_THREADS : 1);
    expect(createBackend({ backend: 'js' }).threads).toBe(1);
  });

  it('refuses more when they are asked for', () => {
    expect(() => createBackend({ threads: MAX_THREADS + 1 })).toThrow(
      /"threads" must be an integer in \[1, 256\], got 257/,
    );
  });
});

describe('a model that runs in JavaScript', () => {
  it('says so when that was not asked for', async () => {
    processors.count = 1;
    using byDefault = await loadModel(TINY);
    expect(byDefault.warnings.some((line) => line.startsWith('the model runs in JavaScript'))).toBe(!hasAddons);
    using asked = await loadModel(TINY, { backend: 'js' });
    expect(asked.warnings.filter((line) => line.includes('JavaScript'))).toEqual([]);
  });
});
