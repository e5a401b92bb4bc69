/** runCli as other programs call it: arguments and streams of wrong kinds. */
import { expect, it } from 'vitest';
import { runCli, type CliIo } from '../src/index';

const never = (v: unknown): never => v as never;
const signal = new AbortController().signal;
const io = (more: object = {}): CliIo => ({
  out: () => undefined,
  err: () => undefined,
  isTerminal: false,
  signal,
  ...more,
});

it.each<[string, () => Promise<number>]>([
  ['"argv" must be an array of strings, got undefined', () => runCli(never(undefined), io())],
  ['"argv" must be an array of strings, got --help', () => runCli(never('--help'), io())],
  ['"argv[1]" must be a string, got 3', () => runCli(never(['layout', 3]), io())],
  ['"argv[0]" must be a string, got Object', () => runCli(never([{ toString: () => '--help' }]), io())],
  ['"io" must be an object, got null', () => runCli(['--help'], never(null))],
  ['"io.out" must be a function, got 3', () => runCli(['--help'], io({ out: 3 }))],
  ['"io.err" must be a function, got undefined', () => runCli(['--help'], io({ err: undefined }))],
  ['"io.progress" must be a function, got x', () => runCli(['--help'], io({ progress: 'x' }))],
  ['"io.signal" must be an AbortSignal, got Object', () => runCli(['--help'], io({ signal: {} }))],
])('%s', async (text, call) => {
  await expect(call()).rejects.toThrow(`runCli: ${text}`);
});

it('streams are read once, and called as what they belong to', async () => {
  let asked = 0;
  const streams = {
    text: '',
    ...{ err: () => undefined, isTerminal: false, signal },
    get out() {
      asked++;
      return function (this: { text: string }, text: string) {
        this.text += text;
      };
    },
  };
  expect(await runCli(['--help'], streams)).toBe(0);
  expect(streams.text).toContain('megamoe');
  expect(asked).toBe(1);
});
