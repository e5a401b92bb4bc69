/** Starts `megamoe serve` in a process of its own, for the scripts beside this. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../lib/run.mjs';

/** Starts a server with the shipped model, or looks at one that runs. */
export async function startServer(args = []) {
  const main = join(ROOT, 'packages', 'cli', 'dist', 'main.js');
  const child = spawn(process.execPath, [main, 'serve', '--port', '0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  const ready = new Promise((resolve, reject) => {
    child.stdout.on('data', (text) => {
      out += text;
      if (/\nqueue/.test(out)) resolve(undefined);
    });
    child.stderr.on('data', (text) => (err = (err + text).slice(-100_000)));
    child.on('exit', (code) => reject(new Error(`megamoe serve ended with code ${code}\n${out}${err}`)));
  });
  await ready;
  const url = /Listening on (\S+),/.exec(out)[1];
  /** Seconds of processor time of each thread. */
  const cpu = () => {
    const tasks = `/proc/${child.pid}/task`;
    const seconds = (thread) => Number(readFileSync(`${tasks}/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e9;
    return new Map(readdirSync(tasks).map((thread) => [thread, seconds(thread)]));
  };
  return {
    url,
    banner: out,
    cpu,
    /** The thread that answers requests, once it has been looked for. */
    httpThread: undefined,
    /** Finds it: it works most while nothing is asked but /health. */
    async findHttpThread() {
      const before = cpu();
      for (let i = 0; i < 300; i++) await (await fetch(`${url}/health`)).text();
      const spent = [...cpu()].map(([thread, seconds]) => [thread, seconds - (before.get(thread) ?? 0)]);
      this.httpThread = spent.sort((a, b) => b[1] - a[1])[0][0];
    },
    errors: () => err,
    /** Whether the process still lives. */
    alive: () => child.exitCode === null && child.signalCode === null,
    /** Megabytes of memory in use, and the most there were. */
    memory: () => {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      const mb = (name) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)[1]) / 1024);
      return { now: mb('VmRSS'), peak: mb('VmHWM') };
    },
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', (code, signal) => resolve(code ?? signal));
        child.kill('SIGTERM');
      }),
  };
}

/** The processor, for reports. */
export const processor = () =>
  `${cpus()[0]?.model.trim() ?? 'unknown'} x${cpus().length}, node ${process.versions.node}`;

/** The value below which a share of all lies; NaN of none. */
export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}
