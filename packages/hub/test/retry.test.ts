import { expect, it } from 'vitest';
import { orAborted } from '../src/retry';
import { errorOf } from './support';

it('an answer that never comes is not waited for when the signal fires, and one that fails too late disturbs nobody', async () => {
  const abort = new AbortController();
  const reason = new Error('the disk is full');
  const never = orAborted(new Promise<never>(() => undefined), abort.signal);
  let fail: (error: Error) => void = () => undefined;
  const late = orAborted(new Promise<never>((_, reject) => (fail = reject)), abort.signal);
  abort.abort(reason);
  expect(await errorOf(never)).toBe(reason);
  expect(await errorOf(late)).toBe(reason);
  expect(await errorOf(orAborted(Promise.reject(new Error('too late')), abort.signal))).toBe(reason);
  fail(new Error('too late'));
  await new Promise((resolve) => setTimeout(resolve, 5)); // an unhandled rejection would fail the run
  expect(await orAborted(Promise.resolve(1), new AbortController().signal)).toBe(1);
});
