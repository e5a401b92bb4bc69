import { Forward } from '@megamoe/layers';
import { StepRows } from '@megamoe/ops';
import { expect, it } from 'vitest';
import { BACKENDS, MICRO_FLASH, model } from './support';

/** More rows than come at a time, which are 32. */
const ROWS = 40;

it.each(BACKENDS)('logits are those of the rows that are wanted, whichever tensor holds them, on %s', async (name) => {
  const m = await model(MICRO_FLASH, { backend: name });
  const { backend, config, weights, inputs, memory } = m;
  const v = config.vocabSize;
  const forward = new Forward({ backend, config, weights, inputs, maxRows: ROWS });
  const logits = (wanted: readonly number[]): Float32Array => {
    const sequence = m.createSequence();
    const rows = new StepRows(ROWS, memory.pool.kinds);
    sequence.pages.reserve(ROWS);
    rows.add(
      sequence.pages,
      wanted.map((_, i) => (7 * i) % v),
      0,
      ROWS,
    );
    for (const row of wanted) rows.want(row);
    forward.run(rows, memory.cache, undefined);
    const out = new Float32Array(wanted.length * v);
    forward.logits(rows, out, (i) => i * v);
    sequence.dispose();
    return out;
  };
  const ascending = Array.from({ length: ROWS }, (_, i) => i);
  const want = logits(ascending);
  const backwards = logits([...ascending].reverse());
  for (const i of ascending)
    expect(backwards.subarray((ROWS - 1 - i) * v, (ROWS - i) * v)).toEqual(want.subarray(i * v, (i + 1) * v));
  // A backend may hold them in another tensor from one step to the next, as that of a GPU does when it grows.
  Object.defineProperty(forward.step, 'wantedRows', { value: backend.alloc('i32', [ROWS]) });
  expect(logits(ascending)).toEqual(want);
  forward.dispose();
});
