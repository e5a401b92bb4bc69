/**
 * Repeated load, generate, abort and unload of the shipped model, whole and with experts on the disk: memory must stay flat.
 *
 *   node --expose-gc --max-semi-space-size=1 scripts/residency/soak.mjs [--rounds 300] [--backend cpu]
 *
 * With young objects' space as large as it likes, the engine enlarges it by some 20 MB at a time of its own.
 */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadModel } from '../../packages/model/dist/index.js';

const { values: o } = parseArgs({
  options: { rounds: { type: 'string', default: '300' }, backend: { type: 'string', default: 'auto' } },
});
if (globalThis.gc === undefined) throw new Error('run with node --expose-gc --max-semi-space-size=1');
const TINY = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'models', 'tiny');
const rounds = Number(o.rounds);

/** What is held once nothing more is being freed: threads of the engine free memory after a collection, on a busy machine long after. */
async function measure() {
  let least = Infinity;
  for (let quiet = 0, tries = 0; quiet < 4 && tries < 100; tries++) {
    globalThis.gc();
    await setTimeout(5 + tries);
    const { rss, external } = process.memoryUsage();
    quiet = rss + external < least - 1e5 ? 0 : quiet + 1;
    least = Math.min(least, rss + external);
  }
  const { rss, external, heapUsed } = process.memoryUsage();
  return { rss, external, heapUsed, files: readdirSync('/proc/self/fd').length };
}

async function aborted(work) {
  try {
    await work();
  } catch (error) {
    if (error.message === 'enough') return;
    throw error;
  }
  throw new Error('nothing was aborted');
}

async function round(i) {
  const options = { backend: o.backend, ...(i % 2 ? { residentExperts: 1 + (i % 40) } : {}) };
  const model = await loadModel(TINY, options);
  const abort = new AbortController();
  let chunks = 0;
  await aborted(async () => {
    for await (const chunk of model.generate({
      prompt: 'Once',
      maxTokens: 40,
      ignoreEos: true,
      temperature: 1,
      seed: i,
      signal: abort.signal,
    }))
      if (chunk.tokenId >= 0 && ++chunks === 4) abort.abort(new Error('enough'));
  });
  const early = new AbortController();
  await aborted(() =>
    loadModel(TINY, {
      ...options,
      signal: early.signal,
      onProgress: (done, total) => done > (total * (i % 6)) / 8 && early.abort(new Error('enough')),
    }),
  );
  if (i % 3 > 0) model.dispose(); // else it is left to the collector
}

const WARM_UP = 10; // rounds that are not counted: the engine compiles, the allocator takes what it will keep
for (let i = 0; i < WARM_UP; i++) await round(i);

const mb = (n) => (n / 1e6).toFixed(1).padStart(8);
const seen = [];
for (let i = 0; i < rounds; i++) {
  await round(i);
  if ((i + 1) % Math.max(1, Math.floor(rounds / 10)) !== 0) continue;
  const m = await measure();
  seen.push(m);
  process.stdout.write(
    `round ${String(i + 1).padStart(4)}: resident ${mb(m.rss)} MB  external ${mb(m.external)} MB  heap ${mb(m.heapUsed)} MB  files ${m.files}\n`,
  );
}
const half = seen.slice(Math.floor(seen.length / 2) - 1);
const growth = {
  rss: half.at(-1).rss - half[0].rss,
  external: half.at(-1).external - half[0].external,
  files: half.at(-1).files - half[0].files,
};
process.stdout.write(
  `over the second half: resident ${mb(growth.rss)} MB, external ${mb(growth.external)} MB, files ${growth.files}\n`,
);
if (growth.external > 1e6 || growth.files > 0 || growth.rss > 5e6) {
  process.stderr.write('soak: memory is not flat\n');
  process.exitCode = 1;
}
