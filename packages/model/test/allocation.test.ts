import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Sampler } from '@megamoe/sampler';
import { expect, it } from 'vitest';
import { BACKENDS, breathe, MICRO_FLASH, model, TINY } from './support';

/**
 * Most bytes of JavaScript heap that a warm step of two sequences may take. Numbers that are no small integers come in boxes of 16
 * bytes when a function that is not inlined takes or returns them: the js backend returns its dot products so (some 15,000 a step and
 * more before they are compiled). On `cpu` it is arguments of the 200 native calls: 6 KB when all is compiled, some 30 KB while it is
 * not. An array of a row, or an object of nine fields for each call, is above the bound.
 */
const HEAP_BYTES: Record<string, number> = { js: 800_000, cpu: 40_000 };

setFlagsFromString('--expose-gc');
// Collections by force would throw code away that has not run for a while, and what is compiled again takes heap.
setFlagsFromString('--no-flush-bytecode');
const collect = runInNewContext('gc') as () => void;

/**
 * Bytes of heap that one call of `work` takes: a low one of several counts: compiling code takes heap as well, and
 * a collection in between, which gives less than nothing, tells nothing.
 */
function heapBytes(work: () => void): number {
  const count = (f: () => void): number => {
    collect();
    const before = process.memoryUsage().heapUsed;
    f();
    return process.memoryUsage().heapUsed - before;
  };
  const calls = 2; // few, so that the young generation has room and nothing is collected in between
  const counts = Array.from({ length: 15 }, () => {
    const asking = count(() => undefined);
    const taken = count(() => {
      for (let i = 0; i < calls; i++) work();
    });
    return (taken - asking) / calls;
  });
  const real = counts.filter((bytes) => bytes >= 0).sort((a, b) => a - b);
  expect(real.length).toBeGreaterThan(2);
  return real[real.length >> 2]!;
}

it('the count sees what a step must not do', () => {
  let kept: unknown;
  expect(heapBytes(() => (kept = Array.from({ length: 200 }, (_, i) => ({ i }))))).toBeGreaterThan(4096);
  expect(kept).toBeDefined();
});

it.each(BACKENDS)('a warm decode step makes no buffers and takes next to no heap on %s', async (backend) => {
  const m = await model(backend === 'js' ? MICRO_FLASH : TINY, { backend }); // both have every kind of layer; js is slow
  const v = m.config.vocabSize;
  const sequences = [m.createSequence({ maxTokens: 1200 }), m.createSequence({ maxTokens: 1200 })];
  const batch = sequences.map((sequence) => ({ sequence, tokenIds: [7] }));
  const out = new Float32Array(2 * v);
  const first = out.subarray(0, v);
  const scan = m.backend.logitsScan ? { scan: m.backend.logitsScan } : {};
  const sampler = new Sampler({
    vocabSize: v,
    params: { temperature: 0.8, topK: 50, topP: 0.95 },
    promptIds: [0],
    ...scan,
  });
  const step = (): void => {
    m.forward(batch, { out });
    sampler.accept(sampler.sample(first).tokenId);
  };
  const steps = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      step();
      if (i % 16 === 0) await breathe();
    }
  };
  // Past the first HCA entry (128 tokens), so that every kind of step has been seen; and past 256 tokens: what grows with a sequence grows by
  // doubling, and then rests until 512.
  await steps(270);
  const before = process.memoryUsage().arrayBuffers;
  await steps(64);
  // A single typed array for each step would be at least 64 buffers; collection can only lower the figure.
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThanOrEqual(0);
  // Until the compiler, which has other threads and perhaps busy processors, is done with the step: what allocates in
  // every step never gets below the bound, however often it is counted.
  let least = Infinity;
  for (let round = 0; round < 20 && !(least < HEAP_BYTES[backend]!); round++) {
    least = Math.min(least, heapBytes(step));
    await steps(8);
  }
  expect(least).toBeLessThan(HEAP_BYTES[backend]!);
});
