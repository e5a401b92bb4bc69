/** Compiles the library that makes operations fail (fault.c), and runs a program under it. Linux with glibc and a C compiler. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { clearTimeout, setTimeout } from 'node:timers';
import { fileURLToPath } from 'node:url';
import { ROOT } from '../lib/run.mjs';

const SOURCE = fileURLToPath(new URL('./fault.c', import.meta.url));
/** Kinds of operations, in the order of the counts of `struct state`. */
export const KINDS = [
  ...['open', 'write', 'sync', 'rename', 'unlink', 'mkdir', 'copy', 'truncate', 'link', 'chmod', 'close'],
  ...['read', 'stat', 'alloc', 'thread', 'any'],
];
const COUNTS = 8 * KINDS.length;
const STATE_BYTES = COUNTS + 8 + 1024;

/** The C compiler of this machine, as CC names it or else `cc`; undefined where there is none, or where nothing can be preloaded. */
export function compiler() {
  if (process.platform !== 'linux' || !process.report.getReport().header.glibcVersionRuntime) return undefined;
  const cc = process.env.CC ?? 'cc';
  return spawnSync(cc, ['--version']).status === 0 ? cc : undefined;
}

let compiled;

/** Path of the library, compiled when it is older than its source. */
export function library() {
  compiled ??= compile();
  return compiled;
}

function compile() {
  const path = join(ROOT, '.tmp', 'fault', 'libfault.so');
  if (existsSync(path) && statSync(path).mtimeMs > statSync(SOURCE).mtimeMs) return path;
  mkdirSync(join(ROOT, '.tmp', 'fault'), { recursive: true });
  const made = `${path}.${process.pid}`;
  const args = ['-std=gnu17', '-O2', '-Wall', '-Wextra', '-shared', '-fPIC', '-o', made, SOURCE, '-ldl', '-pthread'];
  const { status, stderr } = spawnSync(compiler(), args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`fault.c does not compile:\n${stderr}`);
  spawnSync('mv', [made, path]);
  return path;
}

/** What ran: exit code or signal, output, how often each kind was counted, how often one failed, and the first that did. */
function result(state, code, signal, out, err) {
  const bytes = readFileSync(state);
  rmSync(state);
  const counts = Object.fromEntries(KINDS.map((kind, i) => [kind, Number(bytes.readBigInt64LE(8 * i))]));
  const text = bytes.subarray(COUNTS + 8).toString('utf8');
  const [, kind, what] = /^(\S+) (.*)$/s.exec(text.slice(0, text.indexOf('\0'))) ?? [];
  return { code, signal, out, err, counts, hits: Number(bytes.readBigInt64LE(COUNTS)), hit: kind && { kind, what } };
}

let runs = 0;

/**
 * Runs Node with the operations of files below `root` counted.
 * @param fault `{ kind, n, how }` as fault.c has them; left out, nothing fails
 */
export function run(argv, root, { fault, env = {}, timeoutMs = 120_000 } = {}) {
  const state = join(ROOT, '.tmp', 'fault', `state-${process.pid}-${runs++}`);
  writeFileSync(state, Buffer.alloc(STATE_BYTES));
  const settings = { MEGAMOE_FAULT_ROOT: root, MEGAMOE_FAULT_STATE: state, LD_PRELOAD: library() };
  const chosen = fault && {
    MEGAMOE_FAULT_KIND: fault.kind,
    MEGAMOE_FAULT_N: String(fault.n),
    MEGAMOE_FAULT_HOW: fault.how,
  };
  const child = spawn(process.execPath, argv, {
    env: { ...process.env, NODE_OPTIONS: '', UV_USE_IO_URING: '0', ...env, ...settings, ...chosen },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (text) => (out += String(text)));
  child.stderr.on('data', (text) => (err += String(text)));
  const late = setTimeout(() => child.kill('SIGABRT'), timeoutMs);
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(late);
      resolve(result(state, code, signal, out, err));
    });
  });
}
