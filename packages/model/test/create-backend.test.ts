import type * as os from 'node:os';
import type * as cuda from '../src/backends/cuda';
import { MAX_THREADS } from '@megamoe/native-kit';
import { afterEach, describe, expect, it, vi } from 'vitest';

const processors = vi.hoisted(() => ({ count: 384 }));
vi.mock('node:os', async (original) => ({
  ...(await original<typeof os>()),
  availableParallelism: () => processors.count,
}));

const gpu = vi.hoisted(() => ({ available: false }));
vi.mock('../src/backends/cuda', async (original) => ({
  ...(await original<typeof cuda>()),
  cudaReport: () => ({ available: gpu.available, reason: 'a GPU' }),
  createCuda: ({ device, gpuMath }: cuda.CudaChoice) => ({
    ...{ name: `cuda ${String(device)}`, description: 'a GPU', kvDtypes: ['f32', 'bf16'], w4a4Math: gpuMath },
    dispose: () => undefined,
  }),
}));

const { addonInfos, createBackend, loadModel, planModel } = await import('../src/index');
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

describe('a GPU', () => {
  afterEach(() => (gpu.available = false));
  const host = hasAddons ? 'cpu' : 'js';

  it('is what auto takes, unless something is said that only a CPU has', () => {
    expect(createBackend().name).toBe(host);
    gpu.available = true;
    expect(createBackend().name).toBe('cuda undefined');
    expect(createBackend({ device: 1 }).name).toBe('cuda 1');
    expect(createBackend({ gpuMath: 'fast' })).toMatchObject({ name: 'cuda undefined', w4a4Math: 'fast' });
    expect(createBackend({ backend: 'js' }).name).toBe('js');
    expect(createBackend({ threads: 2 }).name).toBe(host);
    expect(createBackend({ isa: 'generic' }).name).toBe(host);
  });

  it('is left alone by a model that need not fit', () => {
    gpu.available = true;
    expect(planModel(TINY, { memoryLimit: 4e9 }).fits).toBe('resident'); // the GPU here can plan nothing
  });

  it.each([
    [{ backend: 'cuda', threads: 2 }, 'createBackend: "threads" is for backend cpu, got it with backend cuda'],
    [{ device: 0, isa: 'generic' }, '"isa" is for backend cpu, got it with "device", which is for cuda'],
    [{ gpuMath: 'fast', threads: 1 }, '"threads" is for backend cpu, got it with "gpuMath", which is for cuda'],
    [{ backend: 'js', gpuMath: 'exact' }, 'createBackend: "gpuMath" is for backend cuda, got exact with backend js'],
    [{ gpuMath: 'quick' as 'fast' }, 'createBackend: "gpuMath" must be one of exact, fast, got quick'],
    [{ backend: 'cpu', device: 0 }, 'createBackend: "device" is for backend cuda, got 0 with backend cpu'],
  ] as const)('%j is refused', (options, says) => {
    expect(() => createBackend(options)).toThrow(says);
  });
});

describe('keys in BF16', () => {
  it('need a backend that can hold them', async () => {
    const says = "kv: 'bf16' needs the cuda backend; this is js (asked for), which keeps keys in float32";
    await expect(loadModel(TINY, { backend: 'js', kv: 'bf16' })).rejects.toThrow(`loadModel: ${says}`);
    expect(() => planModel(TINY, { backend: createBackend({ backend: 'js' }), kv: 'bf16' })).toThrow(
      `planModel: ${says}`,
    );
    expect(() => planModel(TINY, { kv: 'f16' as 'bf16' })).toThrow('"kv" must be one of f32, bf16, got f16');
  });

  it('cannot be asked for with a backend of your own together with a math', () => {
    const own = createBackend({ backend: 'js' });
    expect(() => planModel(TINY, { backend: own, gpuMath: 'fast' })).toThrow('"gpuMath" is for a backend by its name');
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
