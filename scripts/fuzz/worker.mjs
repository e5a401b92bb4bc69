/**
 * One fuzzing process: mutates inputs of a target, keeps those that reach code not reached before (V8's block coverage of our own
 * packages), and reports what is no error of ours. The input being read lies in `current`, so that a crash or hang keeps it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { join } from 'node:path';
import { generator, mutate } from './mutate.mjs';
import { TARGETS } from './targets.mjs';

const { target: name, seconds, seed, work } = JSON.parse(process.argv[2]);
const target = TARGETS[name];
const dir = join(work, 'files');
mkdirSync(dir, { recursive: true });
const OURS = new Set(['ERR_CHECKPOINT', 'ERR_SHAPE', 'ERR_VALUE', 'ERR_KIND', 'ERR_UNSUPPORTED']);

const session = new Session();
session.connect();
const call = (method, params) => {
  let result;
  session.post(method, params, (error, value) => {
    if (error) throw error;
    result = value;
  });
  return result;
};
call('Profiler.enable');
call('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
const paths = new Set();

/** How many functions of our packages have run, since the last call, through a set of blocks that is new. */
function news() {
  let found = 0;
  for (const script of call('Profiler.takePreciseCoverage').result) {
    if (!script.url.includes('/packages/')) continue;
    for (const { ranges } of script.functions) {
      if (ranges[0].count === 0) continue;
      const path = ranges.map((r) => `${r.startOffset}${r.count > 0 ? '+' : '-'}`).join('');
      const key = `${script.scriptId} ${path}`;
      if (paths.has(key)) continue;
      paths.add(key);
      found++;
    }
  }
  return found;
}

const findings = new Map();
async function read(input) {
  writeFileSync(join(work, 'current'), input);
  try {
    await target.run(input, dir);
    return true;
  } catch (error) {
    const plain = name === 'config' && error instanceof SyntaxError; // JSON.parse of the target itself
    if (!plain && !OURS.has(error?.code)) {
      const key = `${error?.name}: ${String(error?.message).slice(0, 80)}`;
      if (!findings.has(key)) {
        findings.set(key, error?.stack);
        const hash = createHash('sha256').update(input).digest('hex').slice(0, 12);
        writeFileSync(join(work, `finding-${hash}`), input);
        process.send({ finding: `${key}\n${error?.stack}`, file: join(work, `finding-${hash}`) });
      }
    }
    return false;
  }
}

const openFiles = () => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);
const r = generator(seed);
const corpus = target.seeds();
for (const input of corpus) await read(input);
news();
for (let i = 0; i < 200; i++) await read(mutate(r.pick(corpus), r, corpus, target.limit)); // warm before measuring leaks
globalThis.gc();
const before = { heap: process.memoryUsage().heapUsed, files: openFiles() };
let [runs, accepted, beat, spent, last] = [0, 0, 0, 0, performance.now()];
while (spent < seconds * 1000) {
  const input = mutate(r.pick(corpus), r, corpus, target.limit);
  if (await read(input)) accepted++;
  runs++;
  if (news() > 0 && corpus.length < 5000) corpus.push(Buffer.from(input));
  const now = performance.now();
  spent += Math.min(now - last, 1000); // while the process was stopped, nothing was tried
  last = now;
  if (now - beat > 1000) {
    beat = now;
    process.send({ beat: runs });
  }
}
const kept = corpus.reduce((n, c) => n + c.length, 0);
globalThis.gc();
const heap = process.memoryUsage().heapUsed - before.heap;
const files = openFiles() - before.files;
process.send({
  done: {
    seconds: Math.round(spent / 1000),
    runs,
    accepted,
    corpus: corpus.length,
    kept,
    paths: paths.size,
    heap,
    files,
    findings: findings.size,
  },
});
