import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { builtCli } from '../src/built-cli';
import { MICRO, temporaryFolder, TINY } from './support';

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

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends quantize with exit code %d and leaves nothing behind', async (signal, code) => {
  const out = join(dir, signal);
  expect(await quantize(out, signal)).toMatchObject({
    code,
    err: expect.stringMatching(/interrupted/) as string,
  });
  expect(existsSync(out)).toBe(false);
});

it('what SIGKILL leaves is removed by the next run', async () => {
  const out = join(dir, 'killed');
  expect(await quantize(out, 'SIGKILL')).toMatchObject({ code: null, signal: 'SIGKILL' });
  expect(temporaries(out).length).toBe(1);
  expect((await quantize(out)).code).toBe(0);
  expect(temporaries(out)).toEqual([]);
  expect(readdirSync(out)).toContain('model.safetensors');
});

/** Runs a command that computes for long without ever giving way, and sends it a signal once it has said that it is at work. */
function atWork(signal: NodeJS.Signals, ...argv: string[]): Promise<{ code: number | null; err: string; ms: number }> {
  const child = spawn(process.execPath, [builtCli()!, ...argv], { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  let sent = 0;
  child.stderr.on('data', (text) => {
    err += String(text);
    if (sent > 0 || !err.includes('at work')) return;
    sent = performance.now();
    child.kill(signal);
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, err, ms: performance.now() - sent })));
}

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends a command in the middle of a loop with exit code %d', async (signal, code) => {
  const ended = await atWork(signal, 'layout', '--rows', '131072', '--k', '4096', '--json');
  expect(ended).toMatchObject({ code, err: 'megamoe: layout: at work, 2 s\n\nmegamoe: interrupted\n' });
  expect(ended.ms).toBeLessThan(2000); // half a second of grace; the rest is for a machine that others use
});

const fifo = (...parts: string[]): string => {
  const path = join(dir, ...parts);
  execFileSync('mkfifo', [path]);
  return path;
};

it.runIf(process.platform !== 'win32')('SIGINT ends a command that waits for somebody to write a FIFO', async () => {
  const path = fifo('input');
  const quantizing = ['quantize', '--in', MICRO, '--out', join(dir, 'never'), '--backend', 'js'];
  const ended = await Promise.all([
    atWork('SIGINT', 'logits', '--model', MICRO, '--out', join(dir, 'never.safetensors'), '--token-ids', path),
    atWork('SIGINT', 'verify', '--model', MICRO, '--token-ids', path),
    atWork('SIGINT', ...quantizing, '--calibration', path),
    atWork('SIGINT', ...quantizing, '--calibrate', path),
    atWork('SIGINT', 'prompt', '--model', TINY, path),
    atWork('SIGINT', 'parse', path),
  ]);
  for (const each of ended) {
    expect(each).toMatchObject({ code: 130, err: expect.stringMatching(/^megamoe: interrupted$/m) as string });
    expect(each.ms).toBeLessThan(5000); // six at once
  }
});

it.runIf(process.platform !== 'win32')('a FIFO in a checkpoint is an error, and nothing is waited for', async () => {
  for (const name of ['config.json', 'model.safetensors.index.json']) {
    const model = join(dir, `with-${name}`);
    cpSync(MICRO, model, { recursive: true });
    rmSync(join(model, name), { force: true });
    fifo(`with-${name}`, name);
    const { code, err } = await atWork('SIGINT', 'inspect', model);
    expect([code, err]).toEqual([1, expect.stringContaining(`${name}: expected a regular file\n`)]);
  }
});

it('a command whose thread is stopped says so: never an exit code without a word', async () => {
  // Stops the thread that the command is computed in where it would say something, as nothing of ours does.
  const stops = `import { parentPort } from 'node:worker_threads'; if (parentPort) parentPort.postMessage = () => process.exit(5);`;
  const preload = `data:text/javascript,${encodeURIComponent(stops)}`;
  const child = spawn(process.execPath, ['--import', preload, builtCli()!, 'inspect', MICRO], { stdio: ['ignore', 'ignore', 'pipe'] }); // prettier-ignore
  let err = '';
  child.stderr.on('data', (text) => (err += String(text)));
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect(err).toContain('megamoe: the command ended in the middle, with status 5; its thread was stopped\n');
  expect(code).toBe(1);
});

it('what a command says before anybody listens is not lost', async () => {
  // Holds up the thread that watches, once the other has been started, until that one has ended.
  const ended = join(dir, 'ended');
  const late = `
    import { existsSync, writeFileSync } from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    import workers from 'node:worker_threads';
    const { Worker } = workers;
    const ended = ${JSON.stringify(ended)};
    if (!workers.isMainThread) process.on('exit', () => writeFileSync(ended, ''));
    else {
      workers.Worker = class extends Worker {
        constructor(...args) {
          super(...args);
          setImmediate(() => {
            for (const end = performance.now() + 60_000; performance.now() < end && !existsSync(ended););
          });
        }
      };
      syncBuiltinESMExports();
    }`;
  const preload = `data:text/javascript,${encodeURIComponent(late)}`;
  const child = spawn(process.execPath, ['--import', preload, builtCli()!, '--version'], { stdio: ['ignore', 'pipe', 'ignore'] }); // prettier-ignore
  let out = '';
  child.stdout.on('data', (text) => (out += String(text)));
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect([code, out]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)]);
  expect(existsSync(ended)).toBe(true);
});
