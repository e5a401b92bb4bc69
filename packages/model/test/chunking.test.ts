/** Logits are the same bits however a prompt is cut, for any number of threads: random cuts on every engine. */
import { expectBytes, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { breathe, ENGINES, MICRO_FLASH, MICRO_WIDE, model, TINY } from './support';

const TOKENS = 200; // past the windows of all three models, and past one compressed entry of 128 in a layer with that ratio
const MODELS = { 'micro-flash': MICRO_FLASH, 'micro-wide': MICRO_WIDE, tiny: TINY } as const;
const NATIVE = ENGINES.filter((e) => e.backend === 'cpu');

/** Lengths of chunks that add up to TOKENS; single tokens as likely as long chunks. */
const cuts = fc
  .array(fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 10, max: 120 })), {
    minLength: TOKENS,
    maxLength: TOKENS,
  })
  .map((sizes) => {
    const lengths: number[] = [];
    for (let left = TOKENS; left > 0;) {
      const n = Math.min(sizes[lengths.length]!, left);
      lengths.push(n);
      left -= n;
    }
    return lengths;
  });

const singles = (n: number): number[] => Array.from({ length: n }, () => 1);
const ALL_SINGLE = singles(TOKENS);
/** Single tokens and chunks in turn; tokens 124 to 133, around the first compressed entry of 128, are single. */
const MIXED = [...singles(10), 33, 5, ...singles(6), 70, ...singles(10), 60, ...singles(6)];

/**
 * Cuts to try on each engine. The trained model differs from the small ones in its weights, not in how a prompt is cut: it needs few.
 * JavaScript takes its time over it, so there one cut is of both kinds.
 */
const CUTS = {
  js: { small: 6, tiny: 1, examples: { small: [[ALL_SINGLE], [MIXED]], tiny: [[MIXED]] } },
  cpu: { small: 16, tiny: 3, examples: { small: [[ALL_SINGLE], [MIXED]], tiny: [[ALL_SINGLE], [MIXED]] } },
} satisfies Record<string, { examples: Record<string, [number[]][]>; small: number; tiny: number }>;

describe.each(Object.keys(MODELS) as (keyof typeof MODELS)[])('%s', (name) => {
  const dir = MODELS[name];

  const rounded = (name === 'micro-flash' ? ENGINES : NATIVE).map((e) => ({ ...e, floatInputs: 'bf16' as const }));
  it.each([...ENGINES, ...rounded])('one chunk = any chunks = token by token, %j', async (engine) => {
    const m = await model(dir, { ...engine, maxChunk: 96 });
    const [v, random] = [m.config.vocabSize, seeded(5)];
    const ids = Array.from({ length: TOKENS }, () => random.int(v));
    const whole = m.forward([{ sequence: m.createSequence(), tokenIds: ids }], { logits: 'all' });
    await breathe();
    const property = fc.asyncProperty(cuts, async (lengths) => {
      const sequence = m.createSequence();
      let at = 0;
      for (const n of lengths) {
        const part = m.forward([{ sequence, tokenIds: ids.slice(at, at + n) }], { logits: 'all' });
        expectBytes(part, whole.subarray(at * v, (at + n) * v), [n, v]);
        at += n;
        await breathe();
      }
    });
    const size = name === 'tiny' ? 'tiny' : 'small';
    const { examples, [size]: numRuns } = CUTS[engine.backend as 'js' | 'cpu'];
    await fc.assert(property, { numRuns, seed: 20, examples: examples[size] });
  });

  it('any number of threads gives the same bits', async () => {
    for (const engine of NATIVE.flatMap((e) => [e, { ...e, floatInputs: 'bf16' as const }])) {
      let want: Float32Array | undefined;
      for (const threads of [1, 2, 3]) {
        const m = await model(dir, { ...engine, threads });
        const sequence = m.createSequence();
        const ids = Array.from({ length: 40 }, (_, i) => (i * 37 + 11) % m.config.vocabSize);
        const prompt = m.forward([{ sequence, tokenIds: ids }], { logits: 'all' });
        const step = m.forward([{ sequence, tokenIds: [7] }]);
        const got = new Float32Array([...prompt, ...step]);
        want ??= got;
        expectBytes(got, want);
      }
    }
  });
});
