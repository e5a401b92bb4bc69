/** Arguments of the wrong kind of what a server calls: an error that names function and argument. */
import { expect, it } from 'vitest';
import { observed, stopTokenIds } from '../src/index';
import { MICRO_FLASH, model } from './support';

const as = <T>(v: unknown): T => v as T;

it.each<[string, () => unknown]>([
  ['stopTokenIds: "model" must be an object, got null', () => stopTokenIds(as(null))],
  ['stopTokenIds: "model.config" must be an object, got undefined', () => stopTokenIds(as({}))],
  [
    'stopTokenIds: "model.config.eosTokenIds" must be an array, got 3',
    () => stopTokenIds(as({ config: { eosTokenIds: 3 } })),
  ],
  ['observed: "backend" must be an object, got null', () => observed(as(null), {})],
])('%s', (message, call) => expect(call).toThrow(message));

it('Sequence.resume names what is no list of ids, and is as it was', async () => {
  const m = await model(MICRO_FLASH, { backend: 'js' });
  const sequence = m.createSequence();
  m.forward([{ sequence, tokenIds: [1, 2, 3] }]);
  expect(() => sequence.resume(as(null), 3)).toThrow(
    'Sequence.resume: "tokenIds" must be an array of token ids, got null',
  );
  expect(() => sequence.resume([1], as('3'))).toThrow('Sequence.resume: "most" must be an integer at least 0, got "3"');
  expect(sequence.length).toBe(3);
  expect(sequence.resume([1, 2, 9], 3)).toBe(2);
});
