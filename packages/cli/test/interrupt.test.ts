import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { builtCli } from '../src/bench/tiny-cases';
import { MICRO, temporaryFolder } from './support';

const dir = temporaryFolder();

const temporaries = (out: string): string[] =>
  existsSync(out) ? readdirSync(out).filter((f) => f.includes('.tmp-')) : [];

/** Quantizes in a process of its own, and sends it one signal as soon as it has begun to write (a second would end it at once, as it should). */
function quantize(
  out: string,
  signal?: NodeJS.Signals,
): Promise<{ code: number | null; signal: string | null; err: string }> {
  const main = builtCli();
  if (main === undefined) throw new Error('the command line is not built; run "npm start" once');
  const child = spawn(process.execPath, [main, 'quantize', '--in', MICRO, '--out', out, '--backend', 'js']);
  let err = '';
  child.stderr.on('data', (text) => (err += String(text)));
  const watch = setInterval(() => {
    if (signal === undefined || temporaries(out).length === 0) return;
    clearInterval(watch);
    child.kill(signal);
  }, 1);
  return new Promise((resolve) => {
    child.on('close', (code, by) => {
      clearInterval(watch);
      resolve({ code, signal: by, err });
    });
  });
}

it.each(['SIGINT', 'SIGTERM'] as const)(
  '%s ends quantize with exit code 130 and leaves nothing behind',
  async (signal) => {
    const out = join(dir, signal);
    expect(await quantize(out, signal)).toMatchObject({
      code: 130,
      err: expect.stringMatching(/interrupted/) as string,
    });
    expect(existsSync(out)).toBe(false);
  },
);

it('what SIGKILL leaves is removed by the next run', async () => {
  const out = join(dir, 'killed');
  expect(await quantize(out, 'SIGKILL')).toMatchObject({ code: null, signal: 'SIGKILL' });
  expect(temporaries(out).length).toBe(1);
  expect((await quantize(out)).code).toBe(0);
  expect(temporaries(out)).toEqual([]);
  expect(readdirSync(out)).toContain('model.safetensors');
});
