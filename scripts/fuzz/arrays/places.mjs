/**
 * Breaks of memory: where the arrays of a call lie. Each takes a call and changes it; `right: true` says that the call is still one that must be
 * accepted. They return a word for the report, or nothing where they do not apply.
 */
import { arraysIn, at, bufferOf, bytesOf, classOf, copyBytes, detach, lengthOf, put, tagOf } from './typed.mjs';

const sizeOf = (v) => classOf(v).BYTES_PER_ELEMENT;
const padded = (n, to) => Math.ceil(n / to) * to;

/** Puts the array at a path on `buffer` from `from` on, with what it holds. */
function move(call, path, buffer, from) {
  const v = at(call.args, path);
  const moved = new (classOf(v))(buffer, from, lengthOf(v));
  new Uint8Array(buffer, from, bytesOf(v)).set(copyBytes(v));
  put(call.args, path, moved);
  return moved;
}

/** One large buffer holds all arrays, at odd places, with marked bytes between them. */
export function arena(call, r) {
  const all = arraysIn(call.args);
  const bytes = all.reduce((n, { value }) => n + bytesOf(value) + 64, 64);
  const buffer = new ArrayBuffer(padded(bytes, 8));
  new Uint8Array(buffer).fill(0xa5);
  let end = 0;
  for (const { path, value } of all) {
    const from = padded(end + 1 + r.below(20), sizeOf(value));
    move(call, path, buffer, from);
    end = from + bytesOf(value);
  }
  return all.length > 0 ? 'one buffer' : undefined;
}

/** An output, or any other array, over another one: part of it, all of it, or right behind it, which is no overlap. */
export function overlap(call, r, note) {
  const all = arraysIn(call.args).filter(({ value }) => bytesOf(value) > 0);
  const outs = all.filter(({ path }) => call.writes.includes(path));
  if (all.length < 2) return undefined;
  const over = outs.length > 0 && r.below(5) > 0 ? r.pick(outs) : r.pick(all);
  const under = r.pick(all.filter((a) => a.value !== over.value).concat(all[0]));
  if (under.value === over.value) return undefined;
  const [a, b] = [bytesOf(over.value), bytesOf(under.value)];
  const base = padded(a + 16, 8);
  const buffer = new ArrayBuffer(padded(base + b + a + 16, 8));
  new Uint8Array(buffer).fill(0x5a);
  const step = sizeOf(over.value);
  const how = r.below(6);
  let from = base;
  if (how === 1) from = base - a + step * (1 + r.below(Math.max(1, Math.floor((a + b) / step) - 1)));
  if (how === 2) from = padded(base + 1, step);
  if (how === 3) from = base - step;
  if (how === 4) from = padded(base + b, step);
  if (how === 5) from = padded(base + r.below(b), step);
  from = Math.max(0, padded(from, step));
  const isApart = from >= base + b || from + a <= base;
  if (isApart) note.right = true;
  const [first, last] = r.below(2) === 0 ? ['over', 'under'] : ['under', 'over'];
  for (const who of [first, last]) {
    if (who === 'over') move(call, over.path, buffer, from);
    else move(call, under.path, buffer, base);
  }
  return `${over.path} ${isApart ? 'beside' : `at ${from - base} of`} ${under.path}`;
}

/** The same array twice. */
export function twice(call, r) {
  const all = arraysIn(call.args);
  if (all.length < 2) return undefined;
  const a = r.pick(all);
  const same = all.filter((b) => b !== a && tagOf(b.value) === tagOf(a.value));
  if (same.length === 0) return undefined;
  const b = r.pick(same);
  put(call.args, a.path, b.value);
  return `${a.path} is ${b.path}`;
}

/** Memory that other threads see, of one array or of all. */
export function shared(call, r) {
  const all = arraysIn(call.args);
  if (all.length === 0) return undefined;
  const some = r.below(3) === 0 ? all : [r.pick(all)];
  for (const { path, value } of some) {
    const buffer =
      r.below(4) === 0
        ? new SharedArrayBuffer(bytesOf(value), { maxByteLength: bytesOf(value) + 64 })
        : new SharedArrayBuffer(bytesOf(value));
    move(call, path, buffer, 0);
    const guise = r.below(6);
    if (guise === 0) Object.setPrototypeOf(buffer, ArrayBuffer.prototype);
    if (guise === 1) Object.defineProperty(buffer, Symbol.toStringTag, { value: 'ArrayBuffer' });
  }
  return some.map(({ path }) => path).join();
}

/** Arrays of a native call in memory that a second thread rewrites while the call runs, forth and back. */
export function racing(call, r, note, racer) {
  if (!call.isNative) return undefined;
  const all = arraysIn(call.args).filter(({ value }) => bytesOf(value) > 0);
  const ints = all.filter(({ value }) => tagOf(value) === 'Int32Array');
  const wanted = ints.length > 0 && r.below(4) > 0 ? [r.pick(ints)] : all;
  if (wanted.length === 0 || wanted.reduce((n, { value }) => n + bytesOf(value) + 8, 0) > racer.room) return undefined;
  let end = 0;
  for (const { path, value } of wanted) {
    move(call, path, racer.memory, end);
    end = padded(end + bytesOf(value), 8);
  }
  note.race = end;
  return wanted.map(({ path }) => path).join();
}

/** A buffer that has gone. */
export function detached(call, r) {
  const all = arraysIn(call.args).filter(({ value }) => bufferOf(value) instanceof ArrayBuffer);
  if (all.length === 0) return undefined;
  const { path, value } = r.pick(all);
  if (bytesOf(value) === 0) return undefined;
  return detach(bufferOf(value)) ? path : undefined;
}

/** A buffer that can change its length, and has: a view that follows it, or one of a fixed length that it still holds or no longer. */
export function resizable(call, r, note) {
  const all = arraysIn(call.args);
  if (all.length === 0) return undefined;
  const { path, value } = r.pick(all);
  const size = sizeOf(value);
  const n = lengthOf(value);
  const buffer = new ArrayBuffer((n + 2) * size, { maxByteLength: (n + 16) * size });
  new Uint8Array(buffer).set(copyBytes(value));
  const follows = r.below(2) === 0;
  const made = follows ? new (classOf(value))(buffer) : new (classOf(value))(buffer, 0, n);
  const to = r.pick([n, n, n + 1, n + 9, Math.max(0, n - 1), 0]);
  buffer.resize(to * size);
  put(call.args, path, made);
  if (to === n || (!follows && to > n)) note.right = true;
  return `${path} ${follows ? 'follows' : 'fixed'} ${n} to ${to}`;
}

/** A view that is shorter or longer than it should be. */
export function otherLength(call, r) {
  const all = arraysIn(call.args);
  if (all.length === 0) return undefined;
  const { path, value } = r.pick(all);
  const n = lengthOf(value);
  const to = r.pick([0, n - 1, n + 1, n >> 1, 2 * n, 1].filter((m) => m >= 0 && m !== n));
  const made = new (classOf(value))(to);
  new Uint8Array(made.buffer).set(copyBytes(value).subarray(0, made.byteLength));
  put(call.args, path, made);
  return `${path} has ${to} of ${n}`;
}
