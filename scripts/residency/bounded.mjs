/**
 * Proof that a checkpoint larger than the allowed memory loads, generates and is quantized: a synthetic one is written, and the command line
 * runs in processes whose address space the operating system limits (`prlimit --as`, what `ulimit -v` sets: an allocation past it fails, so a
 * run that ends well never had more; it counts code, stacks and reserved addresses too, about 0.75 GB of every Node process, and 64 MB for
 * every thread that the C library gives an arena of its own, which MALLOC_ARENA_MAX=1 keeps it from).
 *
 *   node scripts/residency/bounded.mjs [--gb 3] [--limit-gb 1.9] [--dir DIR] [--keep]
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: o } = parseArgs({
  options: {
    gb: { type: 'string', default: '3' },
    'limit-gb': { type: 'string', default: '1.9' },
    dir: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const HERE = dirname(fileURLToPath(import.meta.url));
const MAIN = join(HERE, '..', '..', 'packages', 'cli', 'dist', 'main.js');
const [gb, limit] = [Number(o.gb), Math.round(Number(o['limit-gb']) * 1e9)];
const dir = o.dir ?? mkdtempSync(join(tmpdir(), 'megamoe-bounded-'));
/** What the process is told: the limit less what Node reserves without using it. */
const memory = Math.round(limit - 0.9e9);
if (memory < 3e8) throw new Error('--limit-gb must be at least 1.2: Node itself reserves 0.75 GB of addresses');

const sizeOf = (path) => readdirSync(path).reduce((sum, file) => sum + statSync(join(path, file)).size, 0);

/** Runs Node under the limit; follows its peak of resident memory and of addresses. */
function bounded(args, limited = true) {
  const started = Date.now();
  const command = limited ? ['prlimit', [`--as=${limit}`, process.execPath, ...args]] : [process.execPath, args];
  const child = spawn(command[0], command[1], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, MALLOC_ARENA_MAX: '1' },
  });
  let [out, err, peak, addresses] = ['', '', 0, 0];
  child.stdout.on('data', (text) => (out += text));
  child.stderr.on('data', (text) => (err += text));
  const watch = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      peak = Math.max(peak, 1024 * Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0));
      addresses = Math.max(addresses, 1024 * Number(/VmPeak:\s*(\d+)/.exec(status)?.[1] ?? 0));
    } catch {
      // it has ended
    }
  }, 20);
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      clearInterval(watch);
      const seconds = (Date.now() - started) / 1e3;
      if (code === 0) resolve({ out, err, peak, addresses, seconds });
      else reject(new Error(`${args.slice(0, 5).join(' ')} ... ended with ${code}:\n${err.slice(-2000)}`));
    });
  });
}

const rows = [];
function report(what, checkpoint, { peak, addresses, seconds }, note = '') {
  const g = (n) => `${(n / 1e9).toFixed(2)} GB`;
  rows.push({
    what,
    checkpoint: g(checkpoint),
    limit: g(limit),
    times: (checkpoint / limit).toFixed(2),
    resident: g(peak),
    addresses: g(addresses),
    seconds: seconds.toFixed(1),
  });
  process.stdout.write(
    `${what}: checkpoint ${g(checkpoint)} = ${(checkpoint / limit).toFixed(2)} x the limit of ${g(limit)}; peak resident ${g(peak)}, peak addresses ${g(addresses)}, ${seconds.toFixed(1)} s ${note}\n`,
  );
}

try {
  const [nvfp4, bf16, quantized] = ['nvfp4', 'bf16', 'quantized'].map((name) => join(dir, name));
  // 1024 x 1024 experts: three matrices of 9/16 byte or of 2 bytes an element.
  const count = (bytes) => String(Math.max(8, Math.round((gb * 1e9) / (8 * 3 * 2 ** 20 * bytes))));
  const layers = ['--layers', '8'];
  if (!existsSync(nvfp4))
    process.stdout.write(
      (await bounded([join(HERE, 'synthetic.mjs'), '--out', nvfp4, ...layers, '--experts', count(9 / 16)], false)).out,
    );
  const ids = Array.from({ length: 300 }, (_, i) => (i * 7) % 512).join();
  for (const backend of ['cpu', 'js']) {
    const tokens = backend === 'js' ? ids.split(',').slice(0, 3).join() : ids; // JavaScript takes its time
    const args = [
      MAIN,
      'logits',
      '--model',
      nvfp4,
      '--token-ids',
      tokens,
      '--out',
      join(dir, `${backend}.safetensors`),
      '--backend',
      backend,
    ];
    if (backend === 'cpu') args.push('--step-from', '292');
    const ran = await bounded([...args, '--memory', String(memory)]);
    report(`load, prefill of ${tokens.split(',').length} tokens and decode, ${backend}`, sizeOf(nvfp4), ran);
    process.stdout.write(ran.err.replace(/^/gm, '    '));
  }
  // Without a limit of its own the same run fails: the limit of the operating system is real.
  const whole = await bounded([
    MAIN,
    'logits',
    '--model',
    nvfp4,
    '--token-ids',
    '1,2,3',
    '--out',
    join(dir, 'x.safetensors'),
  ]).then(
    () => 'ran',
    (e) =>
      (/cannot allocate|Array buffer allocation failed|out of memory/i.exec(e.message) ?? [
        'failed otherwise: ' + e.message,
      ])[0],
  );
  process.stdout.write(`the same without --memory: ${whole}\n`);
  if (whole === 'ran') throw new Error('the limit of the operating system limits nothing');
  if (!o.keep) rmSync(nvfp4, { recursive: true, force: true });
  if (!existsSync(bf16))
    process.stdout.write(
      (
        await bounded(
          [join(HERE, 'synthetic.mjs'), '--out', bf16, ...layers, '--experts', count(2), '--format', 'bf16'],
          false,
        )
      ).out,
    );
  rmSync(quantized, { recursive: true, force: true });
  const ran = await bounded([MAIN, 'quantize', '--in', bf16, '--out', quantized, '--backend', 'cpu']);
  report(
    'quantize BF16 to NVFP4',
    sizeOf(bf16),
    ran,
    `= ${(sizeOf(bf16) / ran.seconds / 1e6).toFixed(0)} MB/s read, ${(sizeOf(quantized) / ran.seconds / 1e6).toFixed(0)} MB/s written`,
  );
} finally {
  if (!o.keep && o.dir === undefined) rmSync(dir, { recursive: true, force: true });
}
process.stdout.write(`${JSON.stringify(rows)}\n`);
