/** Every backend and instruction set of this machine agrees with the reference, on micro shapes and on those of the shipped model. */
import { openCheckpoint } from '@megamoe/checkpoint';
import { addonInfos, createBackend, ISAS, type BackendOptions } from '@megamoe/model';
import { repositoryFile } from '@megamoe/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { findingText, verifyBackend, type OpSummary } from '../src/index';
import { openMicro, someTokens, withNvfp4Experts } from './support';

const NVFP4 = withNvfp4Experts(openMicro());
const tiny = openCheckpoint(repositoryFile('models/tiny'));
afterAll(() => tiny.close());

const BACKENDS: BackendOptions[] = [
  { backend: 'js' } as const,
  ...ISAS.filter((isa) => isa !== 'auto').map((isa) => ({ backend: 'cpu', isa, threads: 2 }) as const),
].filter((o) => {
  try {
    return createBackend(o) !== undefined;
  } catch {
    return false; // an instruction set that this processor does not have
  }
});

it('both backends are here, and generic kernels, where the addons were built', () => {
  const native = addonInfos().every(({ loaded }) => loaded) ? ['generic'] : [];
  expect(BACKENDS.map((b) => b.isa ?? b.backend)).toEqual(expect.arrayContaining(['js', ...native]));
});

describe.each(BACKENDS)('%o', (backend) => {
  it.each([
    ['micro', NVFP4, 10],
    ['shipped', tiny, 5],
  ] as const)('agrees on the %s model, products of NVFP4 bit for bit', async (_, source, tokens) => {
    const tokenIds = someTokens(tokens, source.config.vocabSize);
    const r = await verifyBackend({ source, backend: createBackend(backend), tokenIds, decode: 1, keepGoing: true });
    expect(r.findings.map(findingText)).toEqual([]);
    const gemms = r.ops.filter((o) => o.op === 'ffn.w13.gemm' || o.op === 'ffn.w2.gemm');
    expect(gemms).toHaveLength(2 * source.config.numHiddenLayers);
    for (const g of gemms) {
      expect(g).toMatchObject({ metric: 'ulp', error: 0, bound: 0, maxUlp: 0, calls: 2, inputs: 'nvfp4' });
      expect(g.ulpFromExact).toBeLessThan(64);
    }
    // alpha's product rounds: it is compared with something that does not
    expect(Math.max(...gemms.map((g: OpSummary) => g.ulpFromExact!))).toBeGreaterThan(0);
  });
});
