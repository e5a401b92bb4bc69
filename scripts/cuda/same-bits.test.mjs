/**
 * What a sequence gives does not depend on how its tokens are cut into steps, on who takes part in them, on how many they are, or on what ran
 * before. `--backend cpu` asks the same of a machine without a GPU.
 */
import { describe, it } from 'node:test';
import { backendName, MICRO, model, note, sameBits, seeded, TINY } from './support.mjs';

/** Ways to load a model that have bits of their own. */
const WAYS = [
  ...[{}, { activations: 'float' }, { floatInputs: 'bf16' }],
  ...(backendName === 'cuda' ? [{ kv: 'bf16' }, { gpuMath: 'fast' }] : []),
];

/** Logits of every token of `ids`, one sequence alone, in one step where they fit. */
function alone(m, ids) {
  const sequence = m.createSequence();
  const logits = m.forward([{ sequence, tokenIds: ids }], { logits: 'all' });
  sequence.dispose();
  return logits;
}

/** Gives all prompts to sequences of their own, in steps of random sequences with random numbers of tokens; logits of each, all tokens. */
function together(m, prompts, r) {
  const { vocabSize: v } = m.config;
  const running = prompts.map((ids) => ({ ids, sequence: m.createSequence(), out: new Float32Array(ids.length * v) }));
  let steps = 0;
  for (
    let left = running;
    left.length > 0;
    left = running.filter(({ ids, sequence }) => sequence.length < ids.length)
  ) {
    const some = left.filter(() => r.next() < 0.7);
    let room = m.maxChunk;
    const items = [];
    for (const { ids, sequence, out } of some) {
      const most = Math.min(room, ids.length - sequence.length);
      const n = r.next() < 0.5 ? Math.min(1, most) : Math.min(most, 1 + r.int(70));
      if (n === 0) continue;
      items.push({ sequence, tokenIds: ids.slice(sequence.length, sequence.length + n), out, at: sequence.length });
      room -= n;
    }
    if (items.length === 0) continue;
    const logits = m.forward(
      items.map(({ sequence, tokenIds }) => ({ sequence, tokenIds })),
      { logits: 'all' },
    );
    let row = 0;
    for (const { tokenIds, out, at } of items) {
      out.set(logits.subarray(row * v, (row + tokenIds.length) * v), at * v);
      row += tokenIds.length;
    }
    steps++;
  }
  running.forEach(({ sequence }) => sequence.dispose());
  return { logits: running.map(({ out }) => out), steps };
}

describe(`the same bits on ${backendName}`, () => {
  for (const dir of [TINY, MICRO[0]])
    for (const way of WAYS)
      it(`any cut, any company: ${dir.split('/').at(-1)} ${JSON.stringify(way)}`, async () => {
        const m = await model.loadModel(dir, { backend: backendName, ...way });
        const r = seeded(5);
        const tokens = (n) => Array.from({ length: n }, () => r.int(m.config.vocabSize));
        // So many that experts have from one row to a hundred: every tile of the products is used.
        const prompts = Array.from({ length: 40 }, (_, i) =>
          tokens(i === 0 ? 256 : 1 + Math.floor(180 * r.next() ** 3)),
        );
        const { logits, steps } = together(m, prompts, r);
        prompts.forEach((ids, i) => sameBits(logits[i], alone(m, ids), `sequence ${i} of ${ids.length} tokens`));
        note(
          `${dir.split('/').at(-1)} ${JSON.stringify(way)}: ${prompts.length} sequences in ${steps} steps are as alone`,
        );
        m.dispose();
      });

  it('the thousandth step of a loop equals the first', async () => {
    const m = await model.loadModel(TINY, { backend: backendName });
    const r = seeded(6);
    const tokens = (n) => Array.from({ length: n }, () => r.int(m.config.vocabSize));
    const [sequence, other] = [m.createSequence(), m.createSequence()];
    m.forward([{ sequence, tokenIds: tokens(255) }]);
    const tokenIds = tokens(1); // it closes windows of 4 and of 128
    let first;
    for (let step = 1; step <= 1000; step++) {
      // From time to time others work in the same memory.
      if (step % 100 === 50) m.forward([{ sequence: other, tokenIds: tokens(1 + r.int(40)) }]);
      const logits = m.forward([{ sequence, tokenIds }]);
      first ??= logits.slice();
      sameBits(logits, first, `step ${step}`);
      sequence.rewind(sequence.length - 1);
    }
    note('1000 steps of the same token: the same bits');
    m.dispose();
  });
});
