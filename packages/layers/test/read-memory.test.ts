/** Weights are read into the memory of the backend that packs them, which is free again however a load ends. */
import { openCheckpoint } from '@megamoe/checkpoint';
import type { ExpertsWeight, LinearWeight, ReadMemory } from '@megamoe/ops';
import { adoptTensor } from '@megamoe/ops';
import { repositoryFile } from '@megamoe/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { ExpertFormats, loadWeights, type LoadWeightsOptions, type Packer } from '../src/index';

const checkpoint = openCheckpoint(repositoryFile('models/micro-flash'));
afterAll(() => checkpoint.close());

/** A backend that packs nothing and counts: what it read into, and what it holds. */
function counting(fails = Infinity) {
  const at = { made: 0, disposed: 0, taken: 0, held: 0, expertsSeen: new Set<ArrayBufferLike>() };
  const buffers = new Set<ArrayBufferLike>();
  const weight = <T>(fields: object): T => {
    if (at.held >= fails) throw new Error('no memory left');
    at.held++;
    return { ...fields, bytes: 1, dispose: () => void at.held-- } as T;
  };
  const memory: ReadMemory = {
    take(bytes) {
      const made = new Uint8Array(bytes);
      buffers.add(made.buffer);
      at.taken++;
      return made;
    },
    rewind: () => undefined,
    dispose: () => void at.disposed++,
  };
  const packer: Packer = {
    createReadMemory: () => (at.made++, memory),
    tensor: (data, shape) => weight<ReturnType<Packer['tensor']>>({ ...adoptTensor(data, shape ?? [data.length]) }),
    packLinear: ({ name }) => weight<LinearWeight>({ name }),
    packExperts: ({ name, format, numExperts, parts, read }) => {
      for (let e = 0; e < numExperts; e++)
        for (let p = 0; p < (parts ?? 1); p++) {
          const rows = read(e, p);
          const { buffer } = 'codes' in rows ? rows.codes : rows.data;
          if (buffers.has(buffer)) at.expertsSeen.add(buffer);
        }
      return weight<ExpertsWeight>({ name, format });
    },
    packCompressor: () => ({ kind: 'compressor' }),
  };
  return { at, packer };
}

const options = (more: Partial<LoadWeightsOptions> = {}): LoadWeightsOptions => ({
  ...{ formats: new ExpertFormats(checkpoint), staticInputScales: true, totalBytes: 0, poolFor: null },
  ...more,
});

describe('memory to read into', () => {
  it('is the backend’s, and free after a load', async () => {
    const { at, packer } = counting();
    const weights = await loadWeights(checkpoint, packer, options());
    expect(at).toMatchObject({ made: 1, disposed: 1 });
    expect(at.expertsSeen.size).toBeGreaterThan(10); // experts come in it
    weights.dispose();
    expect(at.held).toBe(0);
  });

  it.each([1, 20])('is free after a load that fails with %d weights packed, and so are they', async (n) => {
    const { at, packer } = counting(n);
    await expect(loadWeights(checkpoint, packer, options())).rejects.toThrow('no memory left');
    expect(at).toMatchObject({ made: 1, disposed: 1, held: 0 });
  });

  it('is free after a load that was stopped, and so is all that was packed', async () => {
    const { at, packer } = counting();
    const stop = new AbortController();
    const onProgress = (done: number): void => {
      if (done > 30) stop.abort(new Error('stopped'));
    };
    await expect(loadWeights(checkpoint, packer, options({ onProgress, signal: stop.signal }))).rejects.toThrow(
      'stopped',
    );
    expect(at).toMatchObject({ made: 1, disposed: 1, held: 0 });
  });
});
