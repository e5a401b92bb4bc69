/** Typed arrays as the engine knows them, whatever has been written over their properties, and walks over the arguments of a call. */
const ARRAY = Object.getPrototypeOf(Uint8Array.prototype);
const getter = (name) => Object.getOwnPropertyDescriptor(ARRAY, name).get;
const [tag, buffer, byteOffset, byteLength, length] = [
  getter(Symbol.toStringTag),
  getter('buffer'),
  getter('byteOffset'),
  getter('byteLength'),
  getter('length'),
];
const ask = (get, v) => Reflect.apply(get, v, []);

/** The class of a typed array, as `Float32Array`; undefined for everything else. */
export const tagOf = (v) => ask(tag, v);
export const isArray = (v) => v !== null && typeof v === 'object' && tagOf(v) !== undefined;
export const bufferOf = (v) => ask(buffer, v);
export const offsetOf = (v) => ask(byteOffset, v);
export const bytesOf = (v) => ask(byteLength, v);
export const lengthOf = (v) => ask(length, v);
export const classOf = (v) => globalThis[tagOf(v)];

/** Bytes of a view as they are now, copied; none where its buffer has gone. */
export function copyBytes(v) {
  if (bytesOf(v) === 0) return new Uint8Array(0);
  return new Uint8Array(bufferOf(v), offsetOf(v), bytesOf(v)).slice();
}

/** The same elements in memory of their own, of the plain class. */
export function copyArray(v) {
  return new (classOf(v))(copyBytes(v).buffer);
}

const isShared = (b) =>
  Object.prototype.toString.call(b) === '[object SharedArrayBuffer]' || !(b instanceof ArrayBuffer);

/** All bytes of a buffer, copied; null when it has been detached. */
export function copyBuffer(b) {
  try {
    return new Uint8Array(b).slice();
  } catch {
    return isShared(b) ? new Uint8Array(0) : null;
  }
}

/** What weird arguments stand for: the plain ones with which an accepted call must agree. */
export const standsFor = new WeakMap();

/** Objects that were put in the place of others, and stand for nothing but themselves. */
export const strange = new WeakSet();

/** While `on`, what lies in wait in an argument acts: it is off when we look at arguments ourselves. */
export const armed = { on: false };

/** Takes a buffer away; false where that cannot be: shared memory in the guise of a buffer, or one that is gone. */
export function detach(b) {
  try {
    structuredClone(b, { transfer: [b] });
    return true;
  } catch {
    return false;
  }
}

/** Whether a walk goes on into `v`: plain objects and lists. */
export function isOpen(v) {
  if (typeof v !== 'object' || v === null || isArray(v)) return false;
  if (Array.isArray(v)) return v.length <= 64;
  const proto = Object.getPrototypeOf(v);
  return proto === Object.prototype || proto === null;
}

/** An object with what `o` holds that a walk does not go on into: a handle that calls share. */
export const handle = (o) => Object.assign(Object.create({}), o);

/** What stands at a path such as `0.codes`. */
export function at(args, path) {
  let v = args;
  for (const key of path.split('.')) v = v[key];
  return v;
}

/** Puts something at a path; false where that cannot be. */
export function put(args, path, value) {
  const keys = path.split('.');
  const last = keys.pop();
  let v = args;
  for (const key of keys) v = v[key];
  const property = { value, writable: true, enumerable: true, configurable: true };
  if (!Reflect.defineProperty(v, last, property)) return false;
  for (let plain = standsFor.get(v); typeof plain === 'object' && plain !== null; plain = standsFor.get(plain))
    Reflect.defineProperty(plain, last, property);
  return true;
}

/** Paths of everything in the arguments: `{ path, value }`, arguments before what they hold. */
export function parts(args, prefix = '', depth = 0) {
  const found = [];
  for (const key of Object.keys(args)) {
    const value = args[key];
    const path = prefix + key;
    found.push({ path, value });
    if (depth < 4 && isOpen(value)) found.push(...parts(value, `${path}.`, depth + 1));
  }
  return found;
}

/** Those that are typed arrays. */
export const arraysIn = (args) => parts(args).filter(({ value }) => isArray(value));
