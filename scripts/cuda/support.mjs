/** What the GPU tests share: the packages as they are built, seeded data, and one call on two backends. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const load = (name) => import(new URL(`../../packages/${name}/dist/index.js`, import.meta.url));

export const core = await load('core');
export const ops = await load('ops');
export const model = await load('model');
export const verify = await load('verify');
export const checkpoint = await load('checkpoint');
export const cuda = await load('cuda');

/** What is tested: the GPU, or by `--backend cpu`, where a test takes it, the CPU, to see that the test itself is right. */
export const backendName = parseArgs({ options: { backend: { type: 'string', default: 'cuda' } } }).values.backend;

export const TINY = join(ROOT, 'models', 'tiny');
export const MICRO = ['micro-flash', 'micro-wide'].map((name) => join(ROOT, 'models', name));

/** A line of results, for whoever keeps them. */
export const note = (text) => process.stdout.write(`# ${text}\n`);

/** Random numbers that are the same everywhere (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below) => Math.floor(next() * below);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return {
    next,
    int,
    floats: (n, scale = 1) => Float32Array.from({ length: n }, () => scale * normal()),
    bytes: (n, below = 256) => Uint8Array.from({ length: n }, () => int(below)),
    halves: (n) => Uint16Array.from({ length: n }, () => core.encodeBf16(normal())),
  };
}

/** Cumulative ends of experts with these numbers of rows. */
export function endsOf(counts) {
  let end = 0;
  return Int32Array.from(counts, (n) => (end += n));
}

/** The elements of a tensor, on the host. */
export function read(backend, tensor) {
  const Kind = { f32: Float32Array, i32: Int32Array, u8: Uint8Array, bf16: Uint16Array, e4m3: Uint8Array };
  const out = new Kind[tensor.dtype](tensor.length);
  backend.download(tensor, 0, out.length, out, 0);
  return out;
}

/**
 * One call of an operation: arrays become tensors, functions make handles. Answers what is written, by name; outputs begin as NaN or -7.
 */
export function call(backend, name, given) {
  const kinds = ops.OPS[name].args;
  const args = {};
  const tensors = new Map();
  for (const [arg, v] of Object.entries(given)) {
    if (typeof v === 'function') args[arg] = v(backend);
    else if (ArrayBuffer.isView(v)) {
      args[arg] = backend.tensor(v);
      tensors.set(arg, args[arg]);
    } else args[arg] = v;
  }
  backend[name](args);
  const written = {};
  for (const [arg, tensor] of tensors) if (kinds[arg].access !== 'reads') written[arg] = read(backend, tensor);
  for (const tensor of tensors.values()) tensor.dispose();
  return written;
}

export const nans = (n) => new Float32Array(n).fill(NaN);
export const sevens = (n) => new Int32Array(n).fill(-7);

/** Every bit is the same; NaN is NaN. */
export function sameBits(got, want, what) {
  assert.equal(got.length, want.length, what);
  const [a, b] = [got, want].map((v) =>
    v instanceof Float32Array ? new Uint32Array(v.buffer, v.byteOffset, v.length) : v,
  );
  let differ = 0;
  let first = -1;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i] && differ++ === 0) first = i;
  assert.equal(
    differ,
    0,
    `${what}: ${differ} of ${a.length} differ, the first at ${first}: ${got[first]} for ${want[first]}`,
  );
}

/** Within `limit` of the largest magnitude. */
export function close(got, want, limit, what) {
  assert.equal(got.length, want.length, what);
  let most = 0;
  for (const v of want) if (Number.isFinite(v)) most = Math.max(most, Math.abs(v));
  let worst = 0;
  let at = 0;
  for (let i = 0; i < got.length; i++) {
    if (Object.is(got[i], want[i])) continue;
    const e = Math.abs(got[i] - want[i]);
    if (!(e <= worst)) [worst, at] = [e, i];
  }
  assert.ok(worst <= limit * most, `${what}: off by ${worst} of ${most} at ${at}: ${got[at]} for ${want[at]}`);
  return most === 0 ? 0 : worst / most;
}

/** A short digest, to compare with another machine's. */
export const digest = (v) =>
  createHash('sha256')
    .update(new Uint8Array(v.buffer, v.byteOffset, v.byteLength))
    .digest('hex')
    .slice(0, 16);
