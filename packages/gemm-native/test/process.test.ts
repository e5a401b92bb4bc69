import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { gemmAddonInfo } from '../src/index';

/** Runs a script with `addonPath` defined in a process of its own; an empty addonPath means that there is none to test. */
function runScript(body: string): { status: number | null; output: string } {
  const script = `const addonPath = ${JSON.stringify(gemmAddonInfo().path ?? '')};\n${body}`;
  const r = spawnSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8', timeout: 100_000 });
  return { status: r.status, output: r.stdout + r.stderr };
}

const WORK = `
function work(addon, rounds) {
  const [n, k, m] = [512, 256, 4];
  const w = addon.createWeight(0, 1, n, k);
  addon.putDense(w, 0, 0, n, Float32Array.from({ length: n * k }, (_, i) => i % 7));
  const x = new Float32Array(m * k).fill(1);
  const out = new Float32Array(m * n);
  let sum = 0;
  for (let i = 0; i < rounds; i++) { addon.linear(0, 3, w, x, m, out); sum += out[n]; }
  return sum;
}`;

it('several Node worker threads may compute at once, be ended in the middle, and the process exits cleanly', () => {
  const { status, output } = runScript(`${WORK}
    const { Worker } = require('node:worker_threads');
    const code = (rounds) => ${JSON.stringify(WORK)} +
      ';require("node:worker_threads").parentPort.postMessage(work(require(' + JSON.stringify(addonPath) + '), ' + rounds + '))';
    async function main() {
      if (addonPath === '') return console.log('ok');
      const run = (rounds) => new Worker(code(rounds), { eval: true });
      const answer = (w) => new Promise((ok, bad) => w.once('message', ok).once('error', bad));
      const endless = [run(1e9), run(1e9)]; // they load the addon first, and alone: their end must not unload it under the pool
      const sums = Promise.all([1, 2, 3, 4].map(() => answer(run(200))));
      const results = await sums;
      await Promise.all(endless.map((w) => w.terminate()));
      const own = work(require(addonPath), 200);
      console.log(results.every((s) => s === own) && own > 0 ? 'ok' : 'wrong ' + results + ' ' + own);
    }
    main();`);
  expect(output).toBe('ok\n');
  expect(status).toBe(0);
});

it('an addon that only an ended worker used does no harm at exit', () => {
  const { status, output } = runScript(`
    const { Worker } = require('node:worker_threads');
    if (addonPath === '') console.log('ok');
    else {
      const code = ${JSON.stringify(WORK)} + ';work(require(' + JSON.stringify(addonPath) + '), 20)';
      new Worker(code, { eval: true }).once('exit', (c) => setTimeout(() => console.log(c === 0 ? 'ok' : 'exit ' + c), 50));
    }`);
  expect(output).toBe('ok\n');
  expect(status).toBe(0);
});

it('packed weights are freed with their objects', () => {
  const { status, output } = runScript(`
    function main() {
      if (addonPath === '') return console.log('ok');
      const addon = require(addonPath);
      const data = new Float32Array(4 << 20).fill(1);
      let made = 0;
      const next = () => { // 16 MiB each, 1.6 GiB in all; finalizers run between tasks
        const w = addon.createWeight(0, 1, 1024, 4096);
        addon.putDense(w, 0, 0, 1024, data);
        if (++made % 10 === 0) gc();
        if (made < 100) return setImmediate(next);
        const { rss } = process.memoryUsage();
        console.log(rss < 600 * 2 ** 20 ? 'ok' : 'resident ' + rss);
      };
      next();
    }
    main();`);
  expect(output).toBe('ok\n');
  expect(status).toBe(0);
});
