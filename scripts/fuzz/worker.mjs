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

/** Functions of our packages that have run, since the last call, through a set of blocks that no input went through before: keys for `paths`. */
function news() {
  const found = [];
  for (const script of call('Profiler.takePreciseCoverage').result) {
    if (!script.url.includes('/packages/')) continue;
    for (const { ranges } of script.functions) {
      if (ranges[0].count === 0) continue;
      const path = ranges.map((r) => `${r.startOffset}${r.count > 0 ? '+' : '-'}`).join('');
      const key = `${script.scriptId} ${path}`;
      if (!paths.has(key)) found.push(key);
    }
  }
  return found;
}

/** Keeps those of a batch that reach something new. Asking V8 takes longer than reading: it is asked once for many, and for each only then. */
async function keepNew(batch) {
  if (news().length === 0) return;
  for (const input of batch) {
    await read(input);
    beat();
    const keys = news();
    for (const key of keys) paths.add(key);
    if (keys.length > 0 && corpus.length < 5000) corpus.push(Buffer.from(input));
  }
}

const BATCH = 32;
const findings = new Map();
async function read(input) {
  writeFileSync(join(work, 'current'), input);
  let isPast = false;
  try {
    await target.run(input, dir, () => (isPast = true));
    return { isPast, isRead: true };
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
    return { isPast, isRead: false };
  }
}

/** The next input: most are made by the grammar of the format, some of them changed afterwards; the others are changed inputs of the corpus. */
function next() {
  const way = r.below(10);
  if (way < 6) return target.make(r).subarray(0, target.limit);
  return mutate(way < 7 ? target.make(r) : r.pick(corpus), r, corpus, target.limit);
}

let told = 0;
/** Says that this process goes on. */
function beat() {
  if (performance.now() - told < 1000) return;
  told = performance.now();
  process.send({ beat: true });
}

const openFiles = () => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);
const r = generator(seed);
const corpus = target.seeds();
for (const input of corpus) await read(input);
for (const key of news()) paths.add(key);
for (let i = 0; i < 200; i++) {
  await read(next()); // warm before measuring leaks
  beat();
}
globalThis.gc();
const before = { heap: process.memoryUsage().heapUsed, files: openFiles() };
let [runs, past, accepted, spent, last] = [0, 0, 0, 0, performance.now()];
while (spent < seconds * 1000) {
  const batch = [];
  while (batch.length < BATCH && spent < seconds * 1000) {
    const input = next();
    const { isPast, isRead } = await read(input);
    if (isPast) past++;
    if (isRead) accepted++;
    runs++;
    batch.push(input);
    const now = performance.now();
    spent += Math.min(now - last, 1000); // while the process was stopped, nothing was tried
    last = now;
    beat();
  }
  await keepNew(batch);
}
const share = (n) => `${((100 * n) / runs).toFixed(1)}%`;
const kept = corpus.reduce((n, c) => n + c.length, 0);
globalThis.gc();
const heap = process.memoryUsage().heapUsed - before.heap;
const files = openFiles() - before.files;
process.send({
  done: {
    seconds: Math.round(spent / 1000),
    runs,
    past: share(past),
    accepted: share(accepted),
    corpus: corpus.length,
    kept,
    paths: paths.size,
    heap,
    files,
    findings: findings.size,
  },
});
