/** Checks of arguments that several functions take. Objects are read once: what is checked is what is used. */
import { checkObject, describe, KindError, plainView, takeList, type TypedArrayClass } from '@megamoe/core';

/** More axes than any tensor has. */
const MOST_AXES = 64;

/** A copy of a list of sizes; throws KindError for what is no list of numbers. */
export function takeShape(fn: string, arg: string, shape: unknown): number[] {
  const bad = (): KindError => new KindError(`${fn}: "${arg}" must be a list of numbers, got ${describe(shape)}`);
  if (!Array.isArray(shape)) throw bad();
  return takeList(fn, arg, shape, MOST_AXES, (n) => {
    if (typeof n !== 'number') throw bad();
    return n;
  });
}

/** A copy of an object whose fields have names of the caller's. */
export function takeRecord<T>(fn: string, arg: string, record: Readonly<Record<string, T>>): Map<string, T> {
  checkObject(fn, arg, record);
  const own = new Map<string, T>();
  for (const key in record) own.set(key, record[key]!);
  return own;
}

const CLASSES = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
].map((kind) => [kind.name, kind as unknown as TypedArrayClass<Uint8Array>] as const);

/** The bytes of a typed array or a DataView, and the class of the array; undefined for everything else. */
export function bytesOfView(data: unknown): { readonly kind: string; readonly bytes: Uint8Array } | undefined {
  if (!ArrayBuffer.isView(data)) return undefined;
  const [kind, Class] = CLASSES.find(([name]) => name === describe(data)) ?? [];
  if (kind === undefined || Class === undefined) {
    if (!isDataView(data)) return undefined; // an array of elements that this knows nothing of
    return { kind: 'DataView', bytes: ask(data) };
  }
  const { buffer, byteOffset, byteLength } = plainView(data as Uint8Array, Class);
  return { kind, bytes: new Uint8Array(buffer, byteOffset, byteLength) };
}

const field = (name: 'buffer' | 'byteOffset' | 'byteLength'): ((this: unknown) => unknown) =>
  Object.getOwnPropertyDescriptor(DataView.prototype, name)!.get!;
const [buffer, byteOffset, byteLength] = [field('buffer'), field('byteOffset'), field('byteLength')];

function isDataView(v: unknown): boolean {
  try {
    Reflect.apply(buffer, v, []);
    return true;
  } catch {
    return false;
  }
}

/** What a DataView shows, asked of the engine; nothing where its buffer has gone. */
function ask(v: unknown): Uint8Array {
  try {
    const [at, length] = [Reflect.apply(byteOffset, v, []), Reflect.apply(byteLength, v, [])];
    return new Uint8Array(Reflect.apply(buffer, v, []) as ArrayBuffer, at as number, length as number);
  } catch {
    return new Uint8Array(0);
  }
}
