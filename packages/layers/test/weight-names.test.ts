import { openCheckpoint } from '@megamoe/checkpoint';
import { adoptTensor, HostTensor, type ExpertsWeight, type LinearWeight } from '@megamoe/ops';
import { repositoryFile } from '@megamoe/testkit';
import { afterAll, expect, it } from 'vitest';
import { ExpertFormats, loadWeights, weightNames, type Packer } from '../src/index';

const checkpoint = openCheckpoint(repositoryFile('models/micro-flash'));
afterAll(() => checkpoint.close());

/** Packs nothing: every handle is an object that knows its name. */
const packer: Packer = {
  tensor: (data, shape) => adoptTensor(data, shape ?? [data.length]),
  packLinear: ({ name }) => ({ name, bytes: 0, dispose: () => undefined }) as LinearWeight,
  packExperts: ({ name, format }) => ({ name, format, bytes: 0, dispose: () => undefined }) as ExpertsWeight,
  packCompressor: () => ({ kind: 'compressor' }),
};

/** Every tensor and handle below `x`. */
function leaves(x: unknown): object[] {
  if (typeof x !== 'object' || x === null) return [];
  if (x instanceof HostTensor || 'bytes' in x || 'kind' in x) return [x];
  return Object.values(x).flatMap(leaves);
}

it('every weight of a model has a name of its own, which is that of the checkpoint', async () => {
  const weights = await loadWeights(checkpoint, packer, {
    ...{ formats: new ExpertFormats(checkpoint), staticInputScales: true, totalBytes: 0, poolFor: null },
  });
  const names = weightNames(weights);
  const all = leaves(weights);
  expect(all.length).toBeGreaterThan(100);
  for (const leaf of all) expect(names.has(leaf), JSON.stringify(leaf).slice(0, 80)).toBe(true);
  expect(new Set(names.values()).size).toBe(names.size);
  expect(names.size).toBe(new Set(all).size);
  for (const [leaf, name] of names) {
    if (!('name' in leaf) || name.includes('.w13')) continue;
    expect(name).toBe(leaf.name);
  }
  const layer = weights.layers[4]!;
  expect(names.get(layer.attention.qNorm)).toBe('layers.4.attn.q_norm.weight');
  expect(names.get(layer.attention.indexer!.pool)).toBe('layers.4.attn.indexer.compressor');
  expect(names.get(layer.moe.w13.weight)).toBe('layers.4.ffn.experts.w13');
  expect(names.get(layer.ffnHc.gain)).toBe('layers.4.hc_ffn_scale');
  expect(names.get(weights.head)).toBe('head');
});
