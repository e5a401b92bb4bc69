/**
 * `node scripts/engine-bench.mjs [--model DIR] [--backend js|cpu] [--tokens 48]`: what the engine costs. Tokens a second of 1, 8 and 64
 * clients at once beside the bare batched step of as many rows; the first token of a second turn beside that of the first; the longest that
 * the event loop was held up with the model in a worker. After a build.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadModel, openEngine } from '../packages/model/dist/index.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: fileURLToPath(new URL('../models/tiny', import.meta.url)) },
    backend: { type: 'string', default: 'auto' },
    tokens: { type: 'string', default: '48' },
    turn: { type: 'string', default: '1500' },
  },
});
const tokens = Number(values.tokens);
const load = { backend: values.backend };
const model = await loadModel(values.model, load);
const v = model.config.vocabSize;
const ids = (n, salt) => Array.from({ length: n }, (_, i) => (salt * 7919 + i * 104729) % v);

/** Tokens a second of the bare step: logits and the likeliest token, no engine. */
function bare(rows) {
  const items = Array.from({ length: rows }, (_, i) => ({ sequence: model.createSequence(), tokenIds: ids(16, i) }));
  const out = new Float32Array(rows * v);
  let best = 0;
  model.forward(items, { out });
  for (let round = 0; round < 3; round++) {
    const started = performance.now();
    for (let step = 0; step < tokens / 3; step++) {
      model.forward(
        items.map(({ sequence }, i) => ({ sequence, tokenIds: [(step * 31 + i) % v] })),
        { out },
      );
    }
    best = Math.max(best, (1000 * rows * Math.ceil(tokens / 3)) / (performance.now() - started));
  }
  for (const { sequence } of items) sequence.dispose();
  return best;
}

/** Tokens a second that `clients` requests at once get; steps with their prompts are left out. */
async function served(engine, clients) {
  let best = 0;
  for (let round = 0; round < 3; round++) {
    let [first, last, n] = [0, 0, 0];
    await Promise.all(
      Array.from({ length: clients }, async (_, i) => {
        const request = { tokenIds: ids(16, i), maxTokens: tokens, ignoreEos: true, reusePrefix: false };
        let started = false;
        for await (const { tokenIds } of engine.submit(request)) {
          if (!started) first = Math.max(first, performance.now());
          else n += tokenIds.length;
          started = true;
        }
        last = Math.max(last, performance.now());
      }),
    );
    best = Math.max(best, (1000 * n) / (last - first));
  }
  return best;
}

const report = {};
const engine = await openEngine({ model, maxSequences: 64 });
await served(engine, 8);
for (const clients of [1, 8, 64]) {
  report[clients] = { engine: await served(engine, clients), step: bare(clients) };
  const { engine: e, step } = report[clients];
  console.log(
    `${clients} clients: ${e.toFixed(0)} tokens/s, the bare step ${step.toFixed(0)}, ratio ${(e / step).toFixed(3)}`,
  );
}
console.log(`64 clients get ${(report[64].engine / report[1].engine).toFixed(2)} times one client's rate`);

const talk = ids(Number(values.turn), 5);
const firstToken = async (tokenIds) => {
  const started = performance.now();
  const got = [];
  let ms;
  for await (const chunk of engine.submit({ tokenIds, maxTokens: 8, ignoreEos: true })) {
    ms ??= performance.now() - started;
    got.push(...chunk.tokenIds);
  }
  return { ms, got };
};
const one = await firstToken(talk);
const two = await firstToken([...talk, ...one.got, ...ids(12, 9)]);
console.log(
  `first token of ${talk.length}: ${one.ms.toFixed(0)} ms, of the next turn: ${two.ms.toFixed(0)} ms, ratio ${(two.ms / one.ms).toFixed(3)}`,
);
await engine.close();
model.dispose();

const worker = await openEngine({ model: values.model, load, worker: true });
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
await served(worker, 8);
await (async () => {
  for await (const chunk of worker.submit({ tokenIds: ids(1500, 3), maxTokens: 2, ignoreEos: true })) void chunk;
})();
delay.disable();
console.log(`worker: the event loop was held up for at most ${(delay.max / 1e6).toFixed(1)} ms`);
await worker.close();
