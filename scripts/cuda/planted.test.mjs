/**
 * Mistakes planted in kernels (native/kernels/plant.h): `verify` names the operation, and the mistake where `explain` knows it. The addon is
 * one of its own, built for this test; the one that is shipped has none of it.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, it } from 'node:test';
import { checkpoint, MICRO, note, ROOT, TINY, verify } from './support.mjs';

const PLANTED = join(ROOT, 'packages', 'cuda', 'build', 'planted');

/** What is planted, the operation that goes wrong, what `explain` calls it, and where. */
const MISTAKES = [
  ['neighbourScale', 'groupedGemm', undefined],
  // The bounds of what the GPU does on request hide no mistake either.
  ['neighbourScale', 'groupedGemm', undefined, { gpuMath: 'fast' }],
  ['noAlpha', 'groupedGemm', undefined, { gpuMath: 'fast' }],
  ['cutKeys', 'writeWindow', undefined, { kv: 'bf16' }],
  ['swappedNibbles', 'stage', 'nibbles-swapped'],
  ['borderExpert', 'groupedGemm', 'offsets-searchsorted-left'],
  ['noAlpha', 'groupedGemm', 'global-scale-missing'],
  ['noSink', 'attend', 'attention-sink-missing'],
  ['rawWeights', 'route', 'topk-weights-unnormalised'],
];

describe('mistakes planted in kernels', { skip: !existsSync(PLANTED) && 'built by check-cuda.mjs' }, () => {
  /** What verify finds on a backend of the addon with mistakes. */
  async function find(dir, mistake, { kv, gpuMath } = {}) {
    const { createCudaBackend } = await import(pathToFileURL(join(PLANTED, 'dist', 'index.js')));
    const source = checkpoint.openCheckpoint(dir);
    if (mistake === undefined) delete process.env.MEGAMOE_PLANT;
    else process.env.MEGAMOE_PLANT = mistake;
    const backend = createCudaBackend({ gpuMath });
    try {
      const tokenIds = Array.from({ length: 60 }, (_, i) => (i * 37 + 11) % source.config.vocabSize);
      return (await verify.verifyBackend({ source, backend, tokenIds, decode: 2, kv, keepGoing: true })).findings;
    } finally {
      delete process.env.MEGAMOE_PLANT;
      backend.dispose();
      source.close();
    }
  }

  for (const dir of [TINY, ...MICRO])
    it(`none: nothing is found in ${dir.split('/').at(-1)}`, async () => {
      assert.deepEqual((await find(dir)).map(verify.findingText), []);
    });
  for (const [mistake, operation, id, options = {}] of MISTAKES)
    it(`${mistake} ${JSON.stringify(options)}: ${operation} is named${id ? `, and ${id}` : ''}`, async () => {
      const findings = await find(TINY, mistake, options);
      assert.ok(findings.length > 0, 'nothing is found');
      const first = findings[0];
      note(`${mistake}: ${verify.findingText(first)}`);
      assert.equal(first.operation, operation);
      if (id) assert.ok(findings.some((f) => f.operation === operation && f.mistakes?.includes(id)));
    });
});
