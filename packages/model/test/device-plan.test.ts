/** What a load puts into the memory of a device, known before anything is there; with a device that is made up. */
import { overlaid, pageBytes, pageKindsOf, sequenceBytes, type Backend, type DeviceMemory } from '@megamoe/ops';
import { repositoryFile } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { createBackend, loadModel, planModel, type LoadOptions, type MemoryPlan } from '../src/index';

const TINY = repositoryFile('models/tiny');
const GIB = 2 ** 30;

/** JavaScript, as if on a device; counts what is packed. */
function onDevice(freeBytes: number, totalBytes = 80 * GIB): { readonly backend: Backend; packed: number } {
  const js = createBackend({ backend: 'js' });
  const at = { packed: 0 };
  const memory: DeviceMemory = { freeBytes, totalBytes };
  const backend = overlaid(js, {
    deviceMemory: () => memory,
    packLinear: (source) => (at.packed++, js.packLinear(source)),
    tensor: (data, shape) => (at.packed++, js.tensor(data, shape)),
  });
  return Object.assign(at, { backend });
}
const planOn = (freeBytes: number, more: LoadOptions = {}): MemoryPlan =>
  planModel(TINY, { backend: onDevice(freeBytes).backend, ...more });

describe('on a device', () => {
  const whole = planOn(40 * GIB);
  const { neededBytes } = whole.device!;

  it('the parts are those of the device, and what they need is known', () => {
    expect(whole.fits).toBe('resident');
    expect(whole.parts.map(({ name }) => name)).not.toContain('runtime');
    const host = planModel(TINY, { backend: 'js' });
    expect(host.device).toBeUndefined();
    expect(whole.parts).toEqual(host.parts.filter(({ name }) => name !== 'runtime'));
    expect(whole.totalBytes).toBe(whole.parts.reduce((sum, { bytes }) => sum + bytes, 0));
    const kept = whole.parts.filter(({ name }) => name !== 'state').reduce((sum, { bytes }) => sum + bytes, 0);
    // The scratch of 64 MB, whole pieces of 2 MiB, and the first pages.
    expect(neededBytes).toBeGreaterThan(kept + 64e6);
    expect(neededBytes).toBeLessThan(kept + 64e6 + 100e6);
    expect(whole.device).toMatchObject({ freeBytes: 40 * GIB, totalBytes: 80 * GIB });
  });

  it('a byte decides whether it fits', () => {
    expect(planOn(neededBytes).fits).toBe('resident');
    expect(planOn(neededBytes).device!.kvTokens).toBeGreaterThan(0);
    const small = planOn(neededBytes - 1);
    expect([small.fits, small.device!.kvTokens, small.leastBytes]).toEqual(['no', 0, neededBytes]);
    expect(planOn(40 * GIB, { memoryLimit: neededBytes - 1 }).fits).toBe('no');
    expect(planOn(40 * GIB, { memoryLimit: neededBytes }).fits).toBe('resident');
  });

  it('pages suffice for as many tokens as it says, and for no more', async () => {
    const m = await loadModel(TINY, { backend: 'js' });
    const { layers } = m.memory;
    m.dispose();
    // While one layer's pages grow they stand twice.
    const growing = (n: number): number =>
      sequenceBytes(n, layers) + Math.max(...layers.map((layer) => sequenceBytes(n, [layer])));
    // The first pages are counted in what is needed.
    const beside = neededBytes - 4 * pageKindsOf(layers).reduce((sum, kind) => sum + pageBytes(kind, layers), 0);
    for (const free of [neededBytes, neededBytes + 1e6, GIB, 40 * GIB]) {
      const { kvTokens } = planOn(free).device!;
      expect(growing(kvTokens)).toBeLessThanOrEqual(free - beside);
      expect(growing(kvTokens + 1)).toBeGreaterThan(free - beside);
    }
    const { kvBytesPerToken } = whole.device!;
    expect(kvBytesPerToken).toBeCloseTo(sequenceBytes(whole.stateTokens, layers) / whole.stateTokens, 6);
  });

  it('a larger step takes more, and the error says so before anything is packed', async () => {
    expect(planOn(40 * GIB, { maxChunk: 4096 }).device!.neededBytes).toBeGreaterThan(neededBytes);
    const small = onDevice(50e6);
    await expect(loadModel(TINY, { backend: small.backend })).rejects.toThrow(
      /^loadModel: this model needs 0\.\d{3} GB of memory on the GPU \(embed 0\.\d+ GB, .*experts 0\.\d+ GB\), 0\.050 GB of 85\.9 GB are free: stop what else uses the GPU \(nvidia-smi names it\), take a smaller maxChunk \(workspace\) or a larger GPU, or load on backend cpu/,
    );
    expect(small.packed).toBe(0);
    await expect(loadModel(TINY, { backend: onDevice(GIB).backend, memoryLimit: 1e6 })).rejects.toThrow(
      /are free, the limit is 0\.001 GB: /,
    );
  });

  it('a model that fits is loaded', async () => {
    const large = onDevice(GIB);
    const m = await loadModel(TINY, { backend: large.backend });
    expect(large.packed).toBeGreaterThan(10);
    expect(m.plan.device!.kvTokens).toBeGreaterThan(1000);
    m.dispose();
  });
});
