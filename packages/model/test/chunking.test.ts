/** Logits are the same bits however a prompt is cut, for any number of threads: random cuts on every engine. */
import { expectBytes, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { breathe, ENGINES, MICRO_FLASH, MICRO_WIDE, model, TINY } from './support';

const TOKENS = 200; // past the windows of all three models, and past one compressed entry of 128 in a layer with that ratio
const SLOW_TOKENS = 140; // the same for the tiny model in JavaScript, which takes 10 ms for a token: the entry is seen 12 times
const MODELS = { 'micro-flash': MICRO_FLASH, 'micro-wide': MICRO_WIDE, tiny: TINY } as const;
const NATIVE = ENGINES.filter((e) => e.backend === 'cpu');

/** Lengths of chunks that add up to a number of tokens; single tokens as likely as long chunks. */
const cuts = (tokens: number): fc.Arbitrary<number[]> =>
  fc
    .array(fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 10, max: 120 })), {
      minLength: tokens,
      maxLength: tokens,
    })
    .map((sizes) => {
      const lengths: number[] = [];
      for (let left = tokens; left > 0;) {
        const n = Math.min(sizes[lengths.length]!, left);
        lengths.push(n);
        left -= n;
      }
      return lengths;
    });

describe.each(Object.keys(MODELS) as (keyof typeof MODELS)[])('%s', (name) => {
  const dir = MODELS[name];

  const rounded = (name === 'micro-flash' ? ENGINES : NATIVE).map((e) => ({ ...e, floatInputs: 'bf16' as const }));
  it.each([...ENGINES, ...rounded])('one chunk = any chunks = token by token, %j', async (engine) => {
    const m = await model(dir, { ...engine, maxChunk: 96 });
    const [v, random] = [m.config.vocabSize, seeded(5)];
    const tokens = name === 'tiny' && engine.backend === 'js' ? SLOW_TOKENS : TOKENS;
    const ids = Array.from({ length: tokens }, () => random.int(v));
    const whole = m.forward([{ sequence: m.createSequence(), tokenIds: ids }], { logits: 'all' });
    await breathe();
    const property = fc.asyncProperty(cuts(tokens), async (lengths) => {
      const sequence = m.createSequence();
      let at = 0;
      for (const n of lengths) {
        const part = m.forward([{ sequence, tokenIds: ids.slice(at, at + n) }], { logits: 'all' });
        expectBytes(part, whole.subarray(at * v, (at + n) * v), [n, v]);
        at += n;
        await breathe();
      }
    });
    const runs = ((name === 'tiny' ? 2 : 10) * (engine.backend === 'js' ? 1 : 4)) / ('floatInputs' in engine ? 2 : 1);
    await fc.assert(property, { numRuns: runs, seed: 20, examples: [[Array.from(ids, () => 1)]] });
  });

  it('any number of threads gives the same bits', async () => {
    for (const engine of NATIVE.flatMap((e) => [e, { ...e, floatInputs: 'bf16' as const }])) {
      let want: Float32Array | undefined;
      for (const threads of [1, 2, 3]) {
        const m = await model(dir, { ...engine, threads });
        const sequence = m.createSequence();
        const ids = Array.from({ length: 90 }, (_, i) => (i * 37 + 11) % m.config.vocabSize);
        const prompt = m.forward([{ sequence, tokenIds: ids }], { logits: 'all' });
        const step = m.forward([{ sequence, tokenIds: [7] }]);
        const got = new Float32Array([...prompt, ...step]);
        want ??= got;
        expectBytes(got, want);
      }
    }
  });
});
