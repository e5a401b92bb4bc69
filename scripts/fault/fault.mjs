/**
 * `node scripts/fault/fault.mjs [--command NAME] [--case TEXT] [--kind KIND ...] [--how HOW] [--max-n N] [--sample N] [--jobs N] [--short]`: runs every command
 * that writes files with its n-th operation of each kind failing, or with the process killed there, for every n up to `--max-n` (200) and then
 * `--sample` (40) more, until a run is not hit. After each run the folder must hold the old files or the new ones, the exit code and one line must say
 * what failed, and the same command must then complete. `--list` names the cases. Needs a built checkout (`npm start`), Linux with glibc,
 * a C compiler.
 */
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT } from '../lib/run.mjs';
import { CASES } from './cases.mjs';
import { startHub } from './hub.mjs';
import { classify, differences, emptyFolders, FAILURE, messageFaults, snapshot, stateText } from './judge.mjs';
import { compiler, library, run } from './preload.mjs';

const { values } = parseArgs({
  options: {
    command: { type: 'string' },
    case: { type: 'string' },
    kind: { type: 'string', multiple: true },
    how: { type: 'string' },
    'max-n': { type: 'string', default: '200' },
    sample: { type: 'string', default: '40' },
    jobs: { type: 'string', default: '2' },
    short: { type: 'boolean' },
    list: { type: 'boolean' },
  },
});
const MAIN = join(ROOT, 'packages', 'cli', 'dist', 'main.js');

const KINDS_OF_NAMES = ['rename', 'unlink', 'mkdir', 'link', 'chmod'];
/** Ways to fail: of each kind alone one error, of all that changes the disk a kill, a disk that is dead or full from then on. */
const WAYS = [
  ...['open', 'write', 'sync', ...KINDS_OF_NAMES, 'copy', 'truncate', 'close', 'read', 'stat'].map((kind) => ({
    kind,
    how: 'EIO',
  })),
  { kind: 'write', how: 'ENOSPC+' },
  { kind: 'any', how: 'KILL' },
  { kind: 'any', how: 'EIO+' },
  ...['ENOMEM', 'ENOMEM+'].map((how) => ({ kind: 'alloc', how })),
  ...['EAGAIN', 'EAGAIN+'].map((how) => ({ kind: 'thread', how })),
];
/** The same for --short, a few of each: `at` are shares of how many operations there are. */
const SHORT = [
  { kind: 'rename', how: 'EIO', at: [0, 1] },
  { kind: 'sync', how: 'EIO', at: [0, 1] },
  { kind: 'write', how: 'ENOSPC+', at: [0.5] },
  { kind: 'any', how: 'KILL', at: [0.5, 0.97] },
  { kind: 'any', how: 'EIO+', at: [0.93] },
  { kind: 'alloc', how: 'ENOMEM+', at: [0, 0.6] },
];

if (compiler() === undefined) {
  process.stderr.write('fault: needs Linux with glibc and a C compiler (cc, or what CC names)\n');
  process.exit(2);
}
library();
const chosen = CASES.filter(
  (c) =>
    (values.command === undefined || c.command === values.command) &&
    (values.case === undefined || c.name.includes(values.case)) &&
    (!values.short || c.short),
);
if (values.list || chosen.length === 0) {
  for (const { name } of CASES) process.stdout.write(`${name}\n`);
  process.exit(values.list ? 0 : 2);
}

const hub = chosen.some((c) => c.hub) ? await startHub() : undefined;
const work = realpathSync(mkdtempSync(join(tmpdir(), 'megamoe-fault-')));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));
const cli = (argv, root, options) => run([MAIN, ...argv], root, options);
let folders = 0;
let total = 0;

/** One command with what is there before and after, as two runs without a fault leave it. */
class Trial {
  constructor(c) {
    this.c = c;
    this.template = join(work, `case-${folders++}`);
    this.retried = new Map(); // by state: what was wrong after the command had run again
  }

  async prepare() {
    const { c, template } = this;
    mkdirSync(template);
    await c.setup(template, async (argv) => {
      const r = await cli(argv, template, { env: this.env(template) });
      if (r.code !== 0) throw new Error(`${c.name}: ${r.err}`);
    });
    const first = await this.plain();
    const second = values.short ? first : await this.plain();
    if (first.result.code !== 0) throw new Error(`${c.name}: exit code ${first.result.code}: ${first.result.err}`);
    const unlike = differences(first.state, second.state);
    if (unlike.length > 0) throw new Error(`${c.name}: two runs differ: ${unlike.join(', ')}`);
    this.fresh = first.state;
    this.counts = first.result.counts;
    this.usual = new Set(first.result.err.split('\n').map((line) => plainLine(line, first.root)));
    this.old = this.state(template);
    return this;
  }

  state(root) {
    const { normal } = this.c;
    return snapshot(root, normal && ((path, bytes) => normal(path, bytes, root)), this.c.follow);
  }

  env(root) {
    return this.c.hub ? hub.env(root) : {};
  }

  copy() {
    const root = join(work, `run-${folders++}`);
    cpSync(this.template, root, { recursive: true, verbatimSymlinks: true });
    return root;
  }

  async plain() {
    const root = this.copy();
    const result = await cli(this.c.argv(root), root, { env: this.env(root) });
    const state = this.state(root);
    rmSync(root, { recursive: true, force: true });
    return { root, result, state };
  }

  /** Runs with a fault; what came out, and what is wrong with it. */
  async hit(fault) {
    const { c } = this;
    const root = this.copy();
    try {
      const r = await cli(c.argv(root), root, { fault, env: this.env(root) });
      if (r.hits === 0 && r.signal === null) {
        const wrong =
          r.code === 0 ? differences(this.state(root), this.fresh).join(', ') : `exit code ${r.code}: ${r.err}`;
        return { outcome: 'not hit', wrong };
      }
      const state = this.state(root);
      const is = classify(state, this.old, this.fresh, c.group);
      const wrong = [this.judge(r, fault, is, state, root), await this.again(root, state, is)]
        .filter(Boolean)
        .join('; ');
      return { outcome: outcomeOf(r, is), wrong, hit: r.hit };
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  }

  judge(r, fault, is, state, root) {
    const isKilled = fault.how === 'KILL';
    if (isKilled ? r.signal !== 'SIGKILL' : r.signal !== null) return `ended by ${r.signal}: ${r.err.slice(-400)}`;
    if (is.is === 'mixed' && !is.isRecorded) return `neither old nor new: ${is.why}`;
    const disorder = this.c.order?.(is.groups) ?? '';
    if (isKilled || disorder !== '') return disorder;
    if (r.code === 0) {
      const unlike = differences(state, this.fresh);
      return unlike.length > 0 ? `exit code 0 with ${unlike.join(', ')}` : '';
    }
    // What was computed failed, and the page and the text tell of it.
    if ([...state.values()].includes(FAILURE))
      return r.code === 1 ? '' : `exit code ${r.code} of a failure that is told`;
    const wrong = [messageFaults(r, { hit: r.hit, isUsual: (line) => this.usual.has(plainLine(line, root)) })];
    const mayLeave = fault.how.endsWith('+') || r.hit.kind === 'unlink';
    const left = [...is.left, ...(is.is === 'old' && !this.c.keepsFolders ? emptyFolders(state, this.old) : [])].filter(
      (name) => !this.c.stays?.test(name),
    );
    if (!mayLeave && !is.isRecorded && left.length > 0) wrong.push(`left ${left.join(', ')}`);
    if ((is.is === 'new' || is.isRecorded) && !/complete|is written/.test(r.err))
      wrong.push(`new files, but: ${r.err.slice(-300)}`);
    return wrong.filter(Boolean).join('; ');
  }

  /** The command once more, without a fault: the new files, whatever was there. */
  async again(root, state, is) {
    const key = stateText(state);
    if (!this.retried.has(key)) this.retried.set(key, this.retry(root, is));
    return this.retried.get(key);
  }

  async retry(root, is) {
    const r = await cli(this.c.argv(root), root, { env: this.env(root) });
    const isThere = (is.is === 'new' || is.isRecorded) && /would overwrite|is there; give/.test(r.err);
    if (r.code !== 0 && !isThere) return `again: exit code ${r.code}: ${r.err.slice(-400)}`;
    if (this.c.accumulates && is.is !== 'old') return '';
    const unlike = differences(this.state(root), this.fresh);
    return unlike.length > 0 ? `again: ${unlike.join(', ')}` : '';
  }
}

/** A line of messages without the folder of the run and without numbers. */
const plainLine = (line, root) => line.replaceAll(root, 'ROOT').replace(/\d+(?:\.\d+)?/g, '#');

function outcomeOf(r, { is, left, isRecorded }) {
  const how = r.signal === null ? (r.code === 0 ? 'went on' : 'error') : r.signal === 'SIGKILL' ? 'killed' : r.signal;
  return `${how}: ${isRecorded ? 'new by the record' : is}${left.length > 0 && !isRecorded ? ' + temporaries' : ''}`;
}

/** The numbers to try of `count`: every one up to the limit, then a sample; and one more, which must not be hit. */
function* numbers(count, max) {
  for (let n = 1; n <= Math.min(count, max); n++) yield n;
  const step = Math.max(1, Math.ceil((count - max) / Number(values.sample)));
  for (let n = max + step; n <= count; n += step) yield n;
  yield count + 1;
}

/** Every n of one way to fail; prints a line. */
async function series(trial, way) {
  const { c, counts } = trial;
  const max = Number(values['max-n']);
  const count = counts[way.kind];
  const queue = way.at ? way.at.map((share) => Math.max(1, Math.round(share * count))) : [...numbers(count, max)];
  if (counts[way.kind] === 0) return 0;
  const tally = new Map();
  const found = new Map();
  const worker = async () => {
    for (let n = queue.shift(); n !== undefined; n = queue.shift()) {
      const { outcome, wrong, hit } = await trial.hit({ ...way, n });
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
      total++;
      if (wrong === '') continue;
      const text = `n=${n} ${hit ? `${hit.kind} ${hit.what.slice(work.length)}` : ''}: ${wrong}`;
      const key = wrong.replace(/[0-9a-f]{8,}|\d+/g, '#').slice(0, 160);
      found.set(key, [...(found.get(key) ?? []), text]);
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, worker));
  const all = [...tally].map(([outcome, n]) => `${n} ${outcome}`).join(', ');
  process.stdout.write(`${c.name} | ${way.kind} ${way.how} | ${counts[way.kind]} | ${all}\n`);
  for (const texts of found.values())
    process.stdout.write(`  FOUND ${texts.length} times, first ${texts[0].replaceAll(work, '')}\n`);
  return [...found.values()].reduce((sum, texts) => sum + texts.length, 0);
}

let wrong = 0;
for (const c of chosen) {
  const trial = await new Trial(c).prepare();
  for (const way of values.short ? SHORT : WAYS) {
    if (values.kind !== undefined && !values.kind.includes(way.kind)) continue;
    if (values.how !== undefined && way.how !== values.how) continue;
    wrong += await series(trial, way);
  }
}
process.stdout.write(
  `fault: ${total} runs of ${chosen.length} cases, ${wrong === 0 ? 'nothing' : `${wrong} of them`} wrong\n`,
);
process.exit(wrong === 0 ? 0 : 1);
