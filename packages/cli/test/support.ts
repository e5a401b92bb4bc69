import { repositoryFile } from '@megamoe/testkit';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { runCli } from '../src/index';

export const TINY = repositoryFile('models/tiny');
export const MICRO = repositoryFile('models/micro-flash');

/** What a command left behind. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the command line in this process. */
export async function cli(...argv: string[]): Promise<Ran> {
  let [out, err] = ['', ''];
  const code = await runCli(argv, {
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    isTerminal: false,
    signal: new AbortController().signal,
  });
  return { code, out, err };
}

/** The command with something piped in. */
export async function piped(text: string, ...argv: string[]): Promise<Ran> {
  let [out, err, asked] = ['', '', 0];
  const code = await runCli(argv, {
    out: (t) => void (out += t),
    err: (t) => void (err += t),
    isTerminal: false,
    get stdin() {
      asked++;
      return (async function* () {
        for (const byte of Buffer.from(text)) yield Buffer.from([byte]);
      })();
    },
    signal: new AbortController().signal,
  });
  expect(asked, 'a worker has it piped in each time it asks').toBe(1);
  return { code, out, err };
}

/** A folder that is removed when the tests of the file are done. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'megamoe-cli-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}
