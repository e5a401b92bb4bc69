/**
 * Checks of typed arrays. They ask the array itself, not its class: an array of another realm (Jest, vm) is one, a plain object with the
 * prototype of an array is none, and a length is what the engine says, not what somebody wrote over it.
 */
import { KindError, ShapeError, ValueError } from './errors';

/** A typed-array class, as {@link checkKind} takes it. */
export interface TypedArrayClass<T> {
  new (length: number): T;
  readonly name: string;
}

const ARRAY = Object.getPrototypeOf(Uint8Array.prototype) as object;
const getter = (name: string | symbol): ((this: unknown) => unknown) =>
  Object.getOwnPropertyDescriptor(ARRAY, name)!.get!;
const tagGetter = getter(Symbol.toStringTag);
const lengthGetter = getter('length');
const bufferGetter = getter('buffer');
const byteOffsetGetter = getter('byteOffset');
const byteLengthGetter = getter('byteLength');

const ownBytes = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'byteLength')!.get!;
const sharedBytes = Object.getOwnPropertyDescriptor(SharedArrayBuffer.prototype, 'byteLength')!.get!;

/** The class of a typed array of any realm, as `Float32Array`; undefined for everything else. */
function arrayTag(v: unknown): string | undefined {
  return Reflect.apply(tagGetter, v, []) as string | undefined;
}

/** What came, for a message: numbers and the like as they are, of objects their class. Never throws, whatever came. */
export function describe(v: unknown): string {
  if (v === null || (typeof v !== 'object' && typeof v !== 'function')) return String(v);
  if (typeof v === 'function') return 'a function';
  try {
    const tag = arrayTag(v);
    if (tag !== undefined) return tag;
    const name: unknown = (v as { constructor?: { name?: unknown } }).constructor?.name;
    if (typeof name !== 'string' || name === '') return 'object';
    return ARRAY_NAMES.test(name) ? `an object that is no ${name}` : name;
  } catch {
    return 'object'; // a proxy, or a getter that throws
  }
}

const ARRAY_NAMES = /^(?:Float(?:16|32|64)|Big(?:Int|Uint)64|U?[Ii]nt(?:8|16|32)|Uint8Clamped)Array$/;

/**
 * Throws {@link KindError} unless `v` is a typed array of the class `kind`, of this realm or another, or of a class derived from it. Its
 * length must be its own: one that was written over it would have code read past the end.
 */
export function checkKind<T>(fn: string, arg: string, v: unknown, kind: TypedArrayClass<T>): asserts v is T {
  if (arrayTag(v) === kind.name) {
    if ((v as ArrayLike<unknown>).length === Reflect.apply(lengthGetter, v, [])) return;
    throw new KindError(
      `${fn}: "${arg}" must be a ${kind.name} with its own length, got one whose length is written over`,
    );
  }
  const got = v === null || typeof v === 'object' ? describe(v) : typeof v;
  throw new KindError(`${fn}: "${arg}" must be a ${kind.name}, got ${got}`);
}

/**
 * The elements of `v`, a typed array of the class `kind`, in a view whose properties and methods are those of its class: what somebody wrote
 * over them, or a class derived from it, does not count. For functions that call methods of an array or lay another view over it.
 */
export function plainView<T>(v: T, kind: TypedArrayClass<T>): T {
  if (arrayTag(v) !== kind.name) checkKind('plainView', 'v', v, kind);
  const Class = kind as unknown as new (buffer: unknown, byteOffset: unknown, length: unknown) => T;
  const [buffer, at] = [Reflect.apply(bufferGetter, v, []), Reflect.apply(byteOffsetGetter, v, [])];
  const length = Reflect.apply(lengthGetter, v, []);
  return length === 0 ? new kind(0) : new Class(buffer, at, length); // a buffer that has gone takes no view
}

/** Throws {@link KindError} unless `v` is an object, as those are that hold shapes or options. */
export function checkObject(fn: string, arg: string, v: unknown): asserts v is object {
  if (typeof v === 'object' && v !== null) return;
  throw new KindError(`${fn}: "${arg}" must be an object, got ${v === null ? 'null' : typeof v}`);
}

/** A new array of zeros; throws {@link ShapeError} that names it where no memory can hold it. */
export function newArray<T>(fn: string, arg: string, kind: TypedArrayClass<T>, formula: string, length: number): T {
  if (!Number.isSafeInteger(length) || length < 0)
    throw new ShapeError(
      `${fn}: "${arg}" of length ${formula} must be an integer of at least 0, got ${describe(length)}`,
    );
  try {
    return new kind(length);
  } catch (cause) {
    throw new ShapeError(`${fn}: "${arg}" of length ${formula} = ${length} cannot be allocated`, { cause });
  }
}

/**
 * A copy of an array that a caller passed, by index: each element is read once and made into what `take` gives, which throws for what is none. An
 * array says by itself how to go through it, and how long it is.
 * @param most what it may hold: an array of the caller's may say that it holds four billion
 * @throws KindError for what is no array; ShapeError beyond `most`
 */
export function takeList<T>(
  fn: string,
  arg: string,
  list: unknown,
  most: number,
  take: (element: unknown, i: number) => T,
): T[] {
  const elements = list as readonly unknown[];
  const length: unknown = Array.isArray(list) ? elements.length : undefined;
  if (!Number.isSafeInteger(length)) throw new KindError(`${fn}: "${arg}" must be an array, got ${describe(list)}`);
  if ((length as number) > most)
    throw new ShapeError(`${fn}: "${arg}" must hold at most ${most} elements, got ${describe(length)}`);
  const own: T[] = [];
  for (let i = 0; i < (length as number); i++) own.push(take(elements[i], i));
  return own;
}

/** {@link takeList} of strings, 65,536 at most. */
export function takeStrings(fn: string, arg: string, list: unknown): string[] {
  if (!Array.isArray(list)) throw new KindError(`${fn}: "${arg}" must be an array of strings, got ${describe(list)}`);
  return takeList(fn, arg, list, 65536, (text, i) => {
    if (typeof text !== 'string') throw new KindError(`${fn}: "${arg}[${i}]" must be a string, got ${describe(text)}`);
    return text;
  });
}

/**
 * A copy of token ids, each read once: what is checked is what is used. Throws {@link KindError} for what is no list, {@link ValueError} that names the
 * first id that is no integer in `[0, below)`.
 */
export function takeIds(fn: string, arg: string, ids: ArrayLike<number>, below = 0x7fffffff): Int32Array {
  let length: unknown;
  try {
    length = arrayTag(ids) === undefined ? ids.length : Reflect.apply(lengthGetter, ids, []);
  } catch {
    // null, or something that pretends
  }
  if (typeof ids !== 'object' || !Number.isSafeInteger(length) || (length as number) < 0)
    throw new KindError(`${fn}: "${arg}" must be an array of token ids, got ${describe(ids)}`);
  const own = newArray(fn, arg, Int32Array, 'length', length as number);
  for (let i = 0; i < own.length; i++) {
    const id: unknown = ids[i];
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= below) {
      throw new ValueError(`${fn}: "${arg}" must hold token ids in [0, ${below}), got ${describe(id)} at index ${i}`);
    }
    own[i] = id;
  }
  return own;
}

/** Whether two arrays lie in the same memory, if not at the same place of it. */
export function sameBuffer(a: ArrayBufferLike, b: ArrayBufferLike): boolean {
  if (a === b) return true;
  if (!isShared(a) || !isShared(b)) return false;
  const size = Reflect.apply(sharedBytes, a, []) as number;
  if (size === 0 || size !== Reflect.apply(sharedBytes, b, [])) return false;
  // Shared memory may come as two objects (structuredClone, postMessage): a byte is changed, and looked for through the other.
  const [x, y] = [new Uint8Array(a, 0, 1), new Uint8Array(b, 0, 1)];
  const before = Atomics.load(x, 0);
  const other = Atomics.load(y, 0);
  if (before !== other) return false;
  Atomics.store(x, 0, before ^ 255);
  const isSame = Atomics.load(y, 0) !== other;
  Atomics.store(x, 0, before);
  return isSame;
}

/** Whether memory is shared between threads; of any realm, whatever prototype it has been given. */
export function isShared(buffer: ArrayBufferLike): buffer is SharedArrayBuffer {
  return !isOf(ownBytes, buffer) && isOf(sharedBytes, buffer);
}

/** Bytes of a buffer; 0 once it is detached. */
function bytesOf(buffer: ArrayBufferLike): number {
  return Reflect.apply(isShared(buffer) ? sharedBytes : ownBytes, buffer, []) as number;
}

/** Whether a getter of a kind of buffer takes it for one. */
function isOf(bytes: (this: unknown) => unknown, buffer: unknown): boolean {
  try {
    Reflect.apply(bytes, buffer, []);
    return true;
  } catch {
    return false;
  }
}

/** A typed array, as far as memory goes. */
export interface Memory {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly BYTES_PER_ELEMENT: number;
}

/** Where the first elements of an argument lie: bytes [begin, end) of a buffer. */
export interface Place {
  readonly arg: string;
  readonly buffer: ArrayBufferLike;
  readonly begin: number;
  readonly end: number;
}

// Where an array lies is asked of the engine: that is right whatever is written over it, and quicker than its properties.
const bufferOf = (v: Memory): ArrayBufferLike => Reflect.apply(bufferGetter, v, []) as ArrayBufferLike;
const offsetOf = (v: Memory): number => Reflect.apply(byteOffsetGetter, v, []) as number;
const elementBytes = (v: Memory): number => {
  const length = Reflect.apply(lengthGetter, v, []) as number;
  return length === 0 ? 0 : (Reflect.apply(byteLengthGetter, v, []) as number) / length;
};

/** Elements of a typed array, whatever is written over its `length`. */
export const lengthOf = (v: Memory): number => Reflect.apply(lengthGetter, v, []) as number;

/** Where the first `n` elements of an argument lie. To be asked once a call: it takes longer than small work on the array. */
export function placeOf(arg: string, v: Memory, n: number): Place {
  const begin = offsetOf(v);
  return { arg, buffer: bufferOf(v), begin, end: begin + n * elementBytes(v) };
}

/** Places of an argument that is nearly always the array of the call before: where that begins does not change. */
export class ArgPlaces {
  #v: Memory | null = null;
  #buffer: ArrayBufferLike | null = null;
  #begin = 0;
  #bytes = 0;

  constructor(readonly arg: string) {}

  /** As {@link placeOf}. Keeps the last array alive. */
  of(v: Memory, n: number): Place {
    if (v !== this.#v || this.#bytes === 0) {
      this.#buffer = bufferOf(v);
      this.#begin = offsetOf(v);
      this.#bytes = elementBytes(v);
      this.#v = v;
    }
    return { arg: this.arg, buffer: this.#buffer!, begin: this.#begin, end: this.#begin + n * this.#bytes };
  }
}

function overlap(a: Place, b: Place): boolean {
  return Math.max(a.begin, b.begin) < Math.min(a.end, b.end) && sameBuffer(a.buffer, b.buffer);
}

/**
 * Throws {@link ShapeError} when the memory of a typed array has gone: code that has seen arrays of fixed and of resizable buffers may take a
 * detached array for a whole one (V8 11), and its buffer knows better.
 */
export function checkAttached(fn: string, arg: string, v: Memory & { readonly length: number }): void {
  if (v.length > 0 && bytesOf(bufferOf(v)) === 0)
    throw new ShapeError(`${fn}: "${arg}" must hold elements, got one whose buffer has been detached`);
}

/**
 * Throws {@link ShapeError} when an output shares memory with another argument: what is read would depend on the order of the work. Nothing
 * lies nowhere.
 */
export function checkPlacesApart(fn: string, out: Place, other: Place): void {
  if (overlap(out, other)) throw new ShapeError(`${fn}: "${out.arg}" must not overlap "${other.arg}"`);
}

/** {@link checkPlacesApart} for the first `nOut` elements of an output and the first `nOther` of another argument. */
export function checkApart(
  fn: string,
  outArg: string,
  out: Memory & { readonly length: number },
  otherArg: string,
  other: Memory & { readonly length: number },
  nOut?: number,
  nOther?: number,
): void {
  let places: readonly [Place, Place];
  try {
    places = [placeOf(outArg, out, nOut ?? lengthOf(out)), placeOf(otherArg, other, nOther ?? lengthOf(other))];
  } catch (cause) {
    throw new KindError(`${fn}: "${outArg}" and "${otherArg}" must be typed arrays`, { cause });
  }
  checkPlacesApart(fn, places[0], places[1]);
}

/** {@link checkApart}, but `out` may be `other`: the very same elements, read before they are written. */
export function checkApartOrSame(
  fn: string,
  outArg: string,
  out: Memory & { readonly length: number },
  otherArg: string,
  other: Memory & { readonly length: number },
  nOut?: number,
  nOther?: number,
): void {
  let isSame = false;
  try {
    isSame = offsetOf(out) === offsetOf(other) && elementBytes(out) === elementBytes(other);
  } catch {
    // checkApart says what is wrong
  }
  if (!isSame) checkApart(fn, outArg, out, otherArg, other, nOut, nOther);
}
