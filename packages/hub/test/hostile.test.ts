/** Arguments of the wrong kind: an error that names function and argument, whatever came. */
import { expect, it } from 'vitest';
import { findModel, HubError, hubSettings, printable, pullModel } from '../src/index';

const as = <T>(v: unknown): T => v as T;

it.each<[string, () => unknown]>([
  ['findModel: "options" must be an object, got null', () => findModel('a/b', as(null))],
  ['findModel: "cwd" must be a string, got 3', () => findModel('a/b', { cwd: as(3) })],
  ['findModel: "cacheDir" must be a path, got one with a NUL', () => findModel('a/b', { cacheDir: 'a\0b' })],
  [
    'findModel: "revision" must be a branch, a tag or a commit of 40 hexadecimal digits, got Map',
    () => findModel('a/b', { revision: as(new Map()) }),
  ],
  ['hubSettings: "env" must be an object, got null', () => hubSettings(as(null))],
  ['hubSettings: "env.HF_HOME" must be a string, got 3', () => hubSettings({ HF_HOME: as(3) })],
  ['HubError: "options" must be an object, got null', () => new HubError('words', as(null))],
  ['printable: "text" must be a string, got undefined', () => printable(as(undefined))],
])('%s', (message, call) => expect(call).toThrow(message));

it.each<[string, unknown]>([
  ['pullModel: "options" must be an object, got null', null],
  ['pullModel: "retry" must be an object, got number', { retry: 3 }],
  ['pullModel: "retry.attempts" must be an integer at least 1, got 0', { retry: { attempts: 0 } }],
  ['pullModel: "include" must be an array of strings, got String', { include: new String('*') }],
  ['pullModel: "fetch" must be a function, got 3', { fetch: 3 }],
  ['pullModel: "signal" must be an AbortSignal, got Object', { signal: {} }],
  ['pullModel: "concurrency" must be an integer from 1 to 64, got Symbol(x)', { concurrency: Symbol('x') }],
])('%s', async (message, options) => {
  await expect(pullModel('a/b', as(options))).rejects.toThrow(message);
});
