/**
 * `node scripts/fuzz/arrays.mjs [--package P ...] [--minutes M | --rounds N [--together]] [--seed S] [--only NAME] [--replay ID]`: calls every exported function and method
 * of the packages with arguments that overlap, are shared, detached, resized, forged or of the wrong kind. A finding is a signal, a hang of
 * ten seconds, an error that is none of megamoe's own, a result that is not that of the same call on separate copies of its arguments,
 * memory written that is no output, and backends that disagree. `--together` calls all packages from one process, which loads what they share
 * once; where something is found, each is called from a process of its own. Needs a built checkout (`npm start`).
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ROOT } from '../lib/run.mjs';
import { PACKAGES } from './arrays/surface.mjs';

const HANG_TICKS = 20; // of half a second each: a clock that stands still while the processes are stopped
const MEMORY_KB = 12 << 20; // of address space: sizes that nobody has must be refused, not allocated
const MOST_ENDS = 25; // processes that may end by a signal before a package is given up

const { values } = parseArgs({
  options: {
    package: { type: 'string', multiple: true },
    minutes: { type: 'string', default: '1' },
    rounds: { type: 'string' },
    together: { type: 'boolean' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    replay: { type: 'string' },
  },
});
const chosen = values.package ?? PACKAGES;
for (const name of chosen) {
  if (PACKAGES.includes(name)) continue;
  process.stderr.write(`fuzz: no package ${JSON.stringify(name)}; there are ${PACKAGES.join(', ')}\n`);
  process.exit(2);
}

const lines = (file) =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((l) => JSON.parse(l))
    : [];
const json = (file) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8') || 'null') : null);

/** Runs one process to its end; resolves to how it ended. */
function run(settings) {
  const script = fileURLToPath(new URL('./arrays/worker.mjs', import.meta.url));
  const args = ['--expose-gc', '--max-old-space-size=1024', script, JSON.stringify(settings)];
  const child =
    process.platform === 'linux'
      ? spawn('sh', ['-c', `ulimit -v ${MEMORY_KB}; exec "$0" "$@"`, process.execPath, ...args], {
          stdio: ['ignore', 'inherit', 'inherit'],
        })
      : spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  const current = join(settings.work, 'current');
  let [quiet, was, isHung] = [0, '', false];
  const watch = setInterval(() => {
    const now = existsSync(current) ? readFileSync(current, 'utf8') : '';
    quiet = now === was ? quiet + 1 : 0;
    was = now;
    if (quiet < HANG_TICKS) return;
    isHung = true;
    child.kill('SIGKILL');
  }, 500);
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      clearInterval(watch);
      resolve({
        code,
        how: isHung ? 'a hang' : signal ? `signal ${signal}` : code === 0 ? undefined : `exit code ${code}`,
      });
    });
  });
}

/** Fuzzes one package; returns the number of findings. */
async function fuzz(name) {
  const work = join(ROOT, '.tmp', 'fuzz', `arrays-${name}`);
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const settings = { names: [name], seed: Number(values.seed), work, only: values.only };
  if (values.replay !== undefined) {
    const { how } = await run({ ...settings, replay: Number(values.replay), skip: [], first: 0 });
    process.stdout.write(how === undefined ? '' : `${name}: ${how}\n`);
    return how === undefined ? 0 : 1;
  }
  const total = { calls: 0, accepted: 0, refused: 0, raced: 0 };
  const functions = {};
  const ends = new Map();
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  let [left, first] = [Number(values.minutes) * 60_000, 0];
  for (let n = 0; n < MOST_ENDS && left > 0; n++) {
    rmSync(join(work, 'counts'), { force: true });
    const skip = lines(join(work, 'findings')).map(({ key }) => key);
    const { code, how } = await run({ ...settings, milliseconds: left, rounds, first, skip });
    if (code === 3) return 1; // the table has gaps: said already
    const counts = json(join(work, 'counts'));
    for (const key of Object.keys(total)) total[key] += counts?.[key] ?? 0;
    for (const [f, [a, b]] of Object.entries(counts?.functions ?? {})) {
      const sum = (functions[f] ??= [0, 0]);
      sum[0] += a;
      sum[1] += b;
    }
    if (how === undefined) break;
    const at = json(join(work, 'current'));
    const key = `${at?.name}: ${how}`;
    if (!ends.has(key)) ends.set(key, { id: at?.id, name: at?.name, text: '', fault: how });
    left -= counts?.spent ?? 1000;
    first = (counts?.next ?? first) + 1000;
  }
  const findings = [...ends.values(), ...lines(join(work, 'findings'))];
  for (const { id, name: f, text, fault } of findings)
    process.stdout.write(
      `${name}: FOUND ${f}, ${text}: ${fault}\n  node scripts/fuzz/arrays.mjs --package ${name} --replay ${id}\n`,
    );
  const never = Object.entries(functions).filter(([, [accepted]]) => accepted === 0);
  if (never.length > 0) process.stdout.write(`${name}: never accepted: ${never.map(([f]) => f).join(', ')}\n`);
  process.stdout.write(
    `${name}: ${JSON.stringify({ functions: Object.keys(functions).length, ...total, findings: findings.length })}\n`,
  );
  return findings.length;
}

/** Whether a few rounds of all packages, in one process, end without a finding. */
async function isQuiet(names) {
  const work = join(ROOT, '.tmp', 'fuzz', 'arrays-together');
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const settings = { names, seed: Number(values.seed), work, only: values.only, first: 0, skip: [] };
  const { how } = await run({ ...settings, rounds: Number(values.rounds) });
  return how === undefined && lines(join(work, 'findings')).length === 0;
}

let total = 0;
if (!(values.together && values.rounds !== undefined && (await isQuiet(chosen))))
  for (const name of chosen) total += await fuzz(name);
process.stdout.write(total === 0 ? 'fuzz: nothing found\n' : `fuzz: ${total} findings\n`);
process.exit(total === 0 ? 0 : 1);
