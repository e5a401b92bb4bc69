/** A backend of one's own: what it takes to write one, and what it hears when something is missing. */
import { OP_NAMES, type Backend, type OpName } from '@megamoe/ops';
import { expectBytes } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { createBackend, loadModel } from '../src/index';
import { MICRO_FLASH, model } from './support';

/** A fourth backend: it logs, and forwards everything to another. */
class LoggingBackend implements Partial<Backend> {
  readonly name = 'logging';
  readonly log: OpName[] = [];

  constructor(inner: Backend) {
    // Everything that is no operation is the other's: memory, packing, cache, step.
    Object.setPrototypeOf(this, Object.create(inner) as object);
    for (const op of OP_NAMES) {
      const run = inner[op].bind(inner) as (args: unknown) => void;
      Object.assign(this, {
        [op]: (args: unknown) => {
          this.log.push(op);
          run(args);
        },
      });
    }
  }
}

it('a fourth backend is written in a few lines, and gives the same bits', async () => {
  const own = new LoggingBackend(createBackend({ backend: 'js' }));
  const m = await loadModel(MICRO_FLASH, { backend: own as unknown as Backend });
  expect(m.backend.name).toBe('logging');
  const tokenIds = Array.from({ length: 140 }, (_, i) => i % 60);
  const got = m.forward([{ sequence: m.createSequence(), tokenIds }]);
  const js = await model(MICRO_FLASH, { backend: 'js' });
  expectBytes(got, js.forward([{ sequence: js.createSequence(), tokenIds }]));
  // Every operation of the list is used by a model that has every kind of layer.
  expect(OP_NAMES.filter((op) => !own.log.includes(op))).toEqual([]);
});

it('an operation that is missing is named before any work', async () => {
  const { attend, hcPost, ...rest } = createBackend({ backend: 'js' });
  expect([attend, hcPost].every((f) => typeof f === 'function')).toBe(true);
  await expect(loadModel(MICRO_FLASH, { backend: rest as unknown as Backend })).rejects.toThrow(
    'loadModel: "backend" lacks operations of the list in @megamoe/ops: hcPost, attend',
  );
});

it('sequences of other models, disposed ones and empty batches are refused before any work', async () => {
  const [a, b] = [await model(MICRO_FLASH, { backend: 'js' }), await loadModel(MICRO_FLASH, { backend: 'js' })];
  expect(() => a.forward([])).toThrow('Model.forward: the batch is empty');
  expect(() => a.forward([{ sequence: b.createSequence(), tokenIds: [1] }])).toThrow(
    'Model.forward: the sequence of batch item 0 is not one that this model made',
  );
  const gone = a.createSequence();
  gone.dispose();
  gone.dispose();
  expect(() => a.forward([{ sequence: gone, tokenIds: [1] }])).toThrow('the sequence has been disposed');
  b.dispose();
});

it('a sequence of a million tokens costs nothing until they come', async () => {
  const m = await model(MICRO_FLASH, { backend: 'js' });
  const before = process.memoryUsage().arrayBuffers;
  const many = Array.from({ length: 1000 }, () => m.createSequence());
  expect(many.reduce((sum, s) => sum + s.bytes, 0)).toBe(0);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6);
  many.forEach((s) => s.dispose());
});

it('arguments of the wrong kind are named, by code', async () => {
  const m = await model(MICRO_FLASH, { backend: 'js' });
  const code = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
  };
  const sequence = m.createSequence();
  for (const wrong of [null, 1, 'x', Symbol('s'), 1n] as never[]) {
    const item = { sequence, tokenIds: [1] };
    const calls: Record<string, () => unknown> = {
      batch: () => m.forward(wrong),
      item: () => m.forward([wrong]),
      tokenIds: () => m.forward([{ sequence, tokenIds: wrong }]),
      options: () => m.forward([item], wrong),
      out: () => m.forward([item], { out: wrong }),
      trace: () => m.forward([item], { trace: wrong }),
      createSequence: () => m.createSequence(wrong),
      promptTokenIds: () => m.promptTokenIds(wrong),
      restore: () => sequence.restore(wrong),
      createBackend: () => createBackend(wrong),
    };
    for (const [name, call] of Object.entries(calls)) expect([name, code(call)]).toEqual([name, 'ERR_KIND']);
    expect(code(() => m.forward([item], { logits: wrong }))).toBe('ERR_VALUE');
    expect(code(() => m.forward([{ ...item, logits: wrong }]))).toBe('ERR_VALUE');
  }
  expect(code(() => sequence.restore({} as never))).toBe('ERR_VALUE');
  expect(sequence.length).toBe(0);
});
