import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { attentionAddonInfo } from '@megamoe/attention';
import { gemmAddonInfo } from '@megamoe/gemm-native';
import { expect, it } from 'vitest';

const paths = { gemm: gemmAddonInfo().path, attention: attentionAddonInfo().path };

/** False where a process does not show its threads, or where there is nothing to share. */
const canShare = process.platform === 'linux' && paths.gemm !== undefined && paths.attention !== undefined;

/** An operation of each addon on `threads` threads, as a number that its result gives, and the threads of all pools of the process. */
const WORK = `
const fs = require('node:fs');
const counted = () => fs.readdirSync('/proc/self/task')
  .filter((id) => fs.readFileSync('/proc/self/task/' + id + '/comm', 'utf8').trim() === 'megamoe-pool').length;
const poolThreads = (least) => { // a thread takes its name after it has started, which the caller does not wait for
  const end = Date.now() + 20000;
  while (counted() < least && Date.now() < end);
  return counted();
};
const sum = (values) => { let s = 0; for (let i = 0; i < values.length; i++) s += values[i]; return s; };
const counting = (n, below) => { const x = new Float32Array(n); for (let i = 0; i < n; i++) x[i] = (i % below) - 2; return x; };
function gemm(threads) {
  const addon = require(${JSON.stringify(paths.gemm)});
  const [n, k, m] = [4096, 1024, 2];
  const w = addon.createWeight(0, 1, n, k);
  addon.putDense(w, 0, 0, n, counting(n * k, 7));
  const out = new Float32Array(m * n);
  addon.linear(0, threads, w, new Float32Array(m * k).fill(1), m, out);
  return sum(out);
}
function attention(threads) {
  const addon = require(${JSON.stringify(paths.attention)});
  const [m, d] = [5120, 512];
  const x = counting(m * d, 6);
  const [cos, sin] = [new Float32Array(m * d / 2).fill(2), new Float32Array(m * d / 2).fill(0.5)];
  addon.rope(0, threads, x, m, 1, d, d, cos, sin, false);
  return sum(x);
}
`;

async function runScript(body: string): Promise<unknown> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['-e', WORK + body], { timeout: 100_000 });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

it('operations of both addons run on the same threads, with the same results', async () => {
  if (!canShare) return;
  const seen = (await runScript(`
    const alone = [gemm(1), attention(1)];
    const threads = [poolThreads(0)];
    const together = [];
    for (const op of [gemm, attention, attention, gemm]) { together.push(op(5)); threads.push(poolThreads(4)); }
    console.log(JSON.stringify({ alone, together, threads }));`)) as Record<string, number[]>;
  const [g, a] = seen['alone']!;
  expect(g).not.toBe(a);
  expect(seen['together']).toEqual([g, a, a, g]);
  expect(seen['threads']).toEqual([0, 4, 4, 4, 4]);
});

it('the pool that an addon brought in a Node worker thread serves the other addon after that thread has ended', async () => {
  if (!canShare) return;
  const seen = (await runScript(`
    const { Worker } = require('node:worker_threads');
    const code = ${JSON.stringify(WORK)} + ';require("node:worker_threads").parentPort.postMessage([attention(5), poolThreads(4)])';
    const worker = new Worker(code, { eval: true });
    let first;
    worker.once('message', (m) => { first = m; });
    worker.once('exit', () => console.log(JSON.stringify([...first, attention(1), gemm(5), gemm(1), poolThreads(4)])));`)) as number[];
  const [inWorker, threads, alone, gemm, gemmAlone, after] = seen;
  expect([inWorker, gemm]).toEqual([alone, gemmAlone]);
  expect([threads, after]).toEqual([4, 4]);
});

it('both addons may be loaded and used at once from several Node worker threads: still one pool', async () => {
  if (!canShare) return;
  const seen = (await runScript(`
    const { Worker } = require('node:worker_threads');
    const run = (op) => new Promise((ok, bad) => {
      const code = ${JSON.stringify(WORK)} + ';require("node:worker_threads").parentPort.postMessage(' + op + '(4))';
      let answer;
      new Worker(code, { eval: true }).once('message', (m) => { answer = m; }).once('error', bad).once('exit', () => ok(answer));
    });
    Promise.all(['gemm', 'attention', 'gemm', 'attention'].map(run)).then((sums) =>
      console.log(JSON.stringify({ sums, alone: [gemm(1), attention(1)], threads: poolThreads(3) })));`)) as {
    sums: number[];
    alone: number[];
    threads: number;
  };
  expect(seen.sums).toEqual([...seen.alone, ...seen.alone]);
  expect(seen.threads).toBe(3);
});
