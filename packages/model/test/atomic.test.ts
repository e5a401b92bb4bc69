/** A step either happened for a sequence or left it as it was, whatever fails in it. */
import { OP_NAMES, type OpName } from '@megamoe/ops';
import { openCheckpoint } from '@megamoe/checkpoint';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { createBackend, createModel, observed, StepError, type Backend, type Model, type Observer } from '../src/index';
import { BACKENDS, MICRO_FLASH } from './support';

/** A backend that fails when it is told to: at the n-th operation of a name. */
function failing(inner: Backend): { backend: Backend; arm: (name: OpName, nth: number) => void; armed: () => boolean } {
  let wanted: OpName | undefined;
  let left = 0;
  const observer: Record<string, (args: unknown, run: () => void) => void> = {};
  for (const name of OP_NAMES) {
    observer[name] = (_, run) => {
      if (name !== wanted) return run();
      if (left-- > 0) return run();
      wanted = undefined;
      throw new Error(`${name} was told to fail`);
    };
  }
  return {
    backend: observed(inner, observer as Observer),
    arm(name, nth) {
      wanted = name;
      left = nth;
    },
    armed: () => wanted !== undefined,
  };
}

/** Eight sequences of different lengths, at the borders of windows, entries and pages. */
const LENGTHS = [1, 3, 15, 63, 64, 100, 127, 130];

function start(m: Model): { sequence: ReturnType<Model['createSequence']>; tokenIds: number[] }[] {
  const random = seeded(3);
  const v = m.config.vocabSize;
  return LENGTHS.map((n, i) => {
    const sequence = m.createSequence();
    m.forward([{ sequence, tokenIds: Array.from({ length: n }, () => random.int(v)) }], { logits: 'none' });
    return { sequence, tokenIds: Array.from({ length: 1 + (i % 3) }, () => random.int(v)) };
  });
}

describe.each(BACKENDS)('%s', (name) => {
  it('each operation of the list fails in a step of 8 sequences, and all 8 go on with the right bits', async () => {
    const { backend, arm, armed } = failing(createBackend({ backend: name }));
    const checkpoint = openCheckpoint(MICRO_FLASH);
    const m = await createModel(checkpoint, { backend });
    checkpoint.close();
    const base = start(m);
    /** The eight sequences as they were: clones share their pages. */
    const again = (): typeof base => base.map(({ sequence, tokenIds }) => ({ sequence: sequence.clone(), tokenIds }));
    const first = m.forward(again()).slice();
    for (const op of OP_NAMES) {
      for (const nth of [0, 3]) {
        const items = again();
        const lengths = items.map(({ sequence }) => sequence.length);
        arm(op, nth);
        try {
          m.forward(items);
          expect(armed(), `${op} has fewer than ${nth + 1} calls in a step`).toBe(true);
          expect(nth, `${op} is in no step`).toBeGreaterThan(0);
          arm(op, 1e9); // it was not reached: the step stands, and there is nothing to try again
          items.forEach(({ sequence }) => sequence.dispose());
          continue;
        } catch (error) {
          expect((error as Error).message).toBe(`${op} was told to fail`);
        }
        expect(items.map(({ sequence }) => sequence.length)).toEqual(lengths);
        expectBytes(m.forward(items), first); // the same step once more, all of them
        items.forEach(({ sequence }) => sequence.dispose());
      }
      arm(op, 1e9);
    }
    m.dispose();
  });

  it('a sequence with bad data fails alone: its neighbours go on with the bits that they get alone', async () => {
    const checkpoint = openCheckpoint(MICRO_FLASH);
    const bad = 7; // the token id whose embedding is not a number
    const m = await createModel(
      {
        config: checkpoint.config,
        linear(module, n, k) {
          const t = checkpoint.linear(module, n, k);
          if (module === 'embed' && t.format === 'f32') t.data.fill(NaN, bad * k, (bad + 1) * k);
          return t;
        },
        expert: (...a) => checkpoint.expert(...a),
        vector: (...a) => checkpoint.vector(...a),
        ints: (...a) => checkpoint.ints(...a),
      },
      { backend: name },
    );
    checkpoint.close();
    const v = m.config.vocabSize;
    const ids = [1, 2, bad, 4, 5, bad, 8, 9];
    const alone = ids.map((id) =>
      id === bad ? null : m.forward([{ sequence: m.createSequence(), tokenIds: [3, id] }]),
    );
    const items = ids.map((id) => ({ sequence: m.createSequence(), tokenIds: [3, id] }));
    let failed: StepError | undefined;
    try {
      m.forward(items);
    } catch (error) {
      failed = error as StepError;
    }
    expect(failed).toBeInstanceOf(StepError);
    expect(failed!.code).toBe('ERR_STEP');
    expect(failed!.message).toMatch(
      /^Model\.forward: 2 of 8 batch items failed, the others went on: item 2 and 1 more: /,
    );
    expect(failed!.failures.map(({ item }) => item)).toEqual([2, 5]);
    expect(items.map(({ sequence }) => sequence.length)).toEqual(ids.map((id) => (id === bad ? 0 : 2)));
    alone.forEach((row, i) => {
      const got = failed!.logits.subarray(i * v, (i + 1) * v);
      if (row) expectBytes(got, row);
      else expect(got.every((x) => Number.isNaN(x))).toBe(true);
    });
    // Alone it is that sequence's error; it is still good.
    expect(() => m.forward([{ sequence: items[2]!.sequence, tokenIds: [3, bad] }])).toThrow(
      / of batch item 0 are not finite \(NaN at token 1\): the first operation that made one is embed$/,
    );
    expectBytes(m.forward([{ sequence: items[2]!.sequence, tokenIds: [3, 1] }]), alone[0]!);
    m.dispose();
  });
});
