/** What a call may do: return, or throw an error of ours that says which function and why; and write where it says that it writes. */
import { createHash } from 'node:crypto';
import {
  arraysIn,
  at,
  bufferOf,
  bytesOf,
  copyArray,
  copyBuffer,
  copyBytes,
  isArray,
  isOpen,
  lengthOf,
  offsetOf,
  standsFor,
  strange,
  tagOf,
} from './typed.mjs';

/** Codes of the errors of all packages. */
const OURS = new Set(
  'SHAPE VALUE KIND UNSUPPORTED CHECKPOINT CHECK_FAILED CONTEXT_LENGTH ENGINE_CLOSED HUB QUEUE_FULL STEP USAGE WORKER'
    .split(' ')
    .map((name) => `ERR_${name}`),
);
/** Words that only a slip in our own code prints. */
const SLIP =
  /cannot read prop|cannot convert|cannot mix|is not a function|is not iterable|not a constructor|undefined \(|call stack|invalid array length|allocation failed|out of memory|offset is out of bounds|invalid typed array|reading '|\[object /i;

/** What is wrong with an error that a call threw; undefined when nothing is. */
export function faultOf(error, call) {
  if (call.mayThrow?.(error)) return undefined;
  if (!(error instanceof Error)) return `threw no Error but ${typeof error}`;
  const said = `${error.name}: ${error.message}`;
  if (error.userMade === true) return undefined; // thrown by what the caller passed
  if (!OURS.has(error.code)) return `a bare ${said}`;
  if (SLIP.test(error.message)) return `a slip: ${said}`;
  const { code, file } = error;
  if (code === 'ERR_CHECKPOINT' && typeof file === 'string' && error.message.startsWith(`${file}: `)) return undefined; // a file is to blame
  const names = [call.name.split('.').at(-1), ...(call.says ?? [])];
  if (!names.some((name) => error.message.includes(name))) return `does not name the function: ${said}`;
  return undefined;
}

/** For {@link digest}: arrays of the call that come back are that argument; what they hold is looked at as memory. */
export const argumentsOf = (call) => new Map(arraysIn(call.args).map(({ path, value }) => [value, `argument ${path}`]));

/** A text of {@link digest} in which arguments of `call` that are one array have one name: of separate copies they have two. */
export function oneName(call, text) {
  const first = new Map();
  let out = text;
  for (const { path, value } of arraysIn(call.args)) {
    if (first.has(value)) out = out.replaceAll(`argument ${path}`, `argument ${first.get(value)}`);
    else first.set(value, path);
  }
  return out;
}

/** A text that is the same for the same results, bit for bit; NaNs of floats are one. */
export function digest(value, depth = 0, seen = new Map()) {
  if (value === null || value === undefined || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (typeof value === 'function') return 'function';
  if (typeof value !== 'object') return `${typeof value}:${String(value)}`;
  if (seen.has(value)) return seen.get(value);
  if (isArray(value)) {
    const copy = copyArray(value);
    if (copy instanceof Float32Array || copy instanceof Float64Array)
      for (let i = 0; i < copy.length; i++) if (copy[i] !== copy[i]) copy[i] = NaN;
    return `${tagOf(value)}[${lengthOf(value)}]${createHash('sha1').update(new Uint8Array(copy.buffer)).digest('hex')}`;
  }
  if (depth > 6) return '...';
  seen.set(value, `again:${seen.size}`);
  const inner = (v) => digest(v, depth + 1, seen);
  if (value instanceof Map) return `Map{${[...value].map(([k, v]) => `${inner(k)}=>${inner(v)}`).join()}}`;
  if (value instanceof Set) return `Set{${[...value].map(inner).join()}}`;
  if (value instanceof Error) return `${value.name}:${value.message}`;
  if (Array.isArray(value)) return `[${value.map(inner).join()}]`;
  const keys = Object.keys(value).sort();
  return `{${keys.map((k) => `${k}:${inner(value[k])}`).join()}}`;
}

/** The memory that the arguments of a call lie in, as it is now. */
export function snapshot(call) {
  const buffers = new Map();
  for (const { value } of arraysIn(call.args)) {
    const buffer = bufferOf(value);
    if (!buffers.has(buffer)) buffers.set(buffer, copyBuffer(buffer));
  }
  for (const buffer of call.memory ?? []) buffers.set(buffer, copyBuffer(buffer));
  const views = new Map(); // where outputs lie, as they were
  for (const path of call.writes) {
    const value = read(call.args, path);
    if (isArray(value))
      views.set(path, { buffer: bufferOf(value), at: offsetOf(value), bytes: bytesOf(value), was: copyBytes(value) });
  }
  return { buffers, views };
}

function read(args, path) {
  try {
    return at(args, path);
  } catch {
    return undefined;
  }
}

const hex = (n) => n.toString(16).padStart(2, '0');

/** The first byte that is not as expected: each buffer as before, with `written` (path to bytes) where the outputs lie. */
export function firstChange(before, written = new Map()) {
  for (const [buffer, bytes] of before.buffers) {
    if (bytes === null) continue;
    const now = copyBuffer(buffer);
    if (now === null || now.length !== bytes.length) continue; // detached or resized on the way, by the caller
    const want = bytes.slice();
    for (const [path, view] of before.views) {
      const out = written.get(path);
      if (view.buffer !== buffer || out?.length !== view.bytes) continue;
      // Bytes that it changes: a buffer may be larger than its shape, and what lies behind may be another output's.
      for (let i = 0; i < out.length; i++) if (out[i] !== view.was[i]) want[view.at + i] = out[i];
    }
    for (let i = 0; i < want.length; i++) {
      if (now[i] === want[i]) continue;
      const inOutput = [...before.views].find(([, v]) => v.buffer === buffer && i >= v.at && i < v.at + v.bytes);
      const where = inOutput ? `byte ${i - inOutput[1].at} of "${inOutput[0]}"` : `byte ${i}, which is no output,`;
      return `${where} is ${hex(now[i])}, not ${hex(want[i])}`;
    }
  }
  return undefined;
}

/** Bytes of the outputs of a call, by path. */
export function outputs(call) {
  const found = new Map();
  for (const path of call.writes) {
    const value = read(call.args, path);
    if (isArray(value)) found.set(path, copyBytes(value));
  }
  return found;
}

/**
 * The same call on fresh separate copies: arrays of `call` copied, what they hold taken as it is; state and handles from `fresh`, which is
 * the same call built anew.
 */
export function onCopies(call, fresh) {
  return { ...fresh, name: call.name, args: mirror(call.args, fresh.args), writes: call.writes };
}

function mirror(a, b) {
  if (typeof a === 'function') return standsFor.has(a) ? b : a;
  if (typeof a !== 'object' || a === null) return a;
  if (strange.has(a)) return a;
  if (standsFor.has(a)) return mirror(standsFor.get(a), b);
  if (isArray(a)) return copyArray(a);
  if (isOpen(a)) {
    const out = Array.isArray(a) ? [] : {};
    for (const key of Reflect.ownKeys(a))
      if (key !== 'length' || !Array.isArray(a)) out[key] = mirror(a[key], b?.[key]);
    return out;
  }
  return typeof b === 'object' && b !== null && !isArray(b) && Object.getPrototypeOf(b) === Object.getPrototypeOf(a)
    ? b
    : a;
}
