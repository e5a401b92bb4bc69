/** Breaks of what arguments are: arrays of other realms and derived classes, forged properties, values of every wrong kind. */
import vm from 'node:vm';
import {
  armed,
  arraysIn,
  at,
  bufferOf,
  bytesOf,
  classOf,
  copyArray,
  copyBytes,
  isOpen,
  lengthOf,
  offsetOf,
  parts,
  put,
  standsFor,
  strange,
  tagOf,
} from './typed.mjs';

const realm = vm.createContext({});
const pickArray = (call, r) => {
  const all = arraysIn(call.args);
  return all.length === 0 ? undefined : r.pick(all);
};

/** An array of another realm, as tests under Jest make them. Must be taken. */
export function otherRealm(call, r) {
  const all = arraysIn(call.args);
  const some = r.below(2) === 0 ? all : all.slice(0, 1);
  for (const { path, value } of some) {
    const made = vm.runInContext(`new ${tagOf(value)}(${lengthOf(value)})`, realm);
    new Uint8Array(bufferOf(made)).set(copyBytes(value));
    put(call.args, path, made);
  }
  return some.length > 0 ? some.map(({ path }) => path).join() : undefined;
}

const derived = new Map();
/** A class derived from one of arrays, whose methods would make arrays of another kind. */
function derivedClass(Class) {
  if (derived.has(Class)) return derived.get(Class);
  const Made = class extends Class {
    static get [Symbol.species]() {
      return Class === Float64Array ? Uint8Array : Float64Array;
    }
  };
  for (const name of [
    'subarray',
    'slice',
    'map',
    'filter',
    'fill',
    'set',
    'indexOf',
    'includes',
    'every',
    'some',
    'join',
    'find',
    'reduce',
    'forEach',
    'sort',
    'at',
    'copyWithin',
    'entries',
    'values',
    'keys',
  ])
    Object.defineProperty(Made.prototype, name, { value: () => new Class(1), writable: true, configurable: true });
  Object.defineProperty(Made.prototype, Symbol.iterator, { value: () => [][Symbol.iterator](), configurable: true });
  derived.set(Class, Made);
  return Made;
}

/** An array of a derived class, with other methods, or a Buffer. Must be taken, and its methods never called. */
export function subclass(call, r) {
  const found = pickArray(call, r);
  if (!found) return undefined;
  const Class = classOf(found.value);
  const made =
    Class === Uint8Array && r.below(2) === 0
      ? Buffer.from(copyBytes(found.value).buffer) // of memory of its own: Node writes to what others share
      : new (derivedClass(Class))(copyBytes(found.value).buffer);
  put(call.args, found.path, made);
  return `${found.path} ${made.constructor.name}`;
}

const other = (n) => new ArrayBuffer(Math.max(8, n));
/** Own properties that lie about an array. */
const LIES = [
  ['length', (v, r) => r.pick([0, 1, lengthOf(v) + 1, 2 ** 31, -1, NaN, '4'])],
  ['buffer', (v) => other(bytesOf(v))],
  ['byteOffset', (v, r) => r.pick([0, offsetOf(v) + 4, 2 ** 31, -4, 1])],
  ['byteLength', (v, r) => r.pick([0, bytesOf(v) + 8])],
  ['BYTES_PER_ELEMENT', (v, r) => r.pick([0, 1, 8, -1])],
  ['constructor', (v, r) => r.pick([Float64Array, Object, undefined, null])],
  ['subarray', () => () => new Float32Array(1)],
  ['slice', () => () => new Float32Array(1)],
  ['set', () => () => undefined],
  ['fill', () => () => undefined],
  ['map', () => () => new Int32Array(1)],
  [Symbol.iterator, () => () => [][Symbol.iterator]()],
  [Symbol.toStringTag, () => 'Float64Array'],
];

/** An array with a property written over, as a value or as one that is another each time. What is taken must give what the plain one gives. */
export function forged(call, r) {
  const found = pickArray(call, r);
  if (!found) return undefined;
  const [name, lie] = r.pick(LIES);
  const made = copyArray(found.value);
  const value = lie(made, r);
  const isFickle = name !== 'length' && r.below(3) === 0;
  let asked = 0;
  const truth = made[name];
  Object.defineProperty(
    made,
    name,
    isFickle
      ? { get: () => (!armed.on || asked++ % 2 === 0 ? truth : value), configurable: true }
      : { value, configurable: true, writable: true },
  );
  put(call.args, found.path, made);
  return `${found.path}.${String(name)}${isFickle ? ' changing' : ''}`;
}

/** An array with another prototype, or an object that has the prototype of one. */
export function prototype(call, r) {
  const found = pickArray(call, r);
  if (!found) return undefined;
  const Class = classOf(found.value);
  const how = r.below(6);
  const plain = copyArray(found.value);
  const made = [
    () => Object.setPrototypeOf(plain, r.pick([Float64Array, Uint8Array, Int32Array, Float32Array]).prototype),
    () => Object.setPrototypeOf(plain, null),
    () => Object.setPrototypeOf({ length: lengthOf(plain), buffer: plain.buffer, byteOffset: 0 }, Class.prototype),
    () => new Proxy(plain, {}),
    () => new Proxy(plain, { getPrototypeOf: () => Class.prototype, get: (t, k) => Reflect.get(t, k, t) }),
    () => Object.create(plain),
  ][how]();
  put(call.args, found.path, made);
  return `${found.path} ${['swapped', 'null', 'object', 'proxy', 'helpful proxy', 'inherits'][how]}`;
}

/** An array of another element type, or no typed array at all. */
export function otherType(call, r) {
  const found = pickArray(call, r);
  if (!found) return undefined;
  const { value, path } = found;
  const n = lengthOf(value);
  const types = [
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
  ];
  const made = r.pick([
    ...types.filter((T) => T.name !== tagOf(value)).map((T) => () => new T(n)),
    () => new DataView(new ArrayBuffer(bytesOf(value))),
    () => new ArrayBuffer(bytesOf(value)),
    () => Array.from({ length: n }, () => 1),
    () => ({ length: n }),
    () => ({
      length: n,
      0: 1,
      get 1() {
        return 2;
      },
    }),
  ])();
  put(call.args, path, made);
  return `${path} ${made.constructor.name}`;
}

/** Values that are wrong nearly everywhere. */
const VALUES = [
  undefined,
  null,
  true,
  false,
  '',
  'x',
  '3',
  NaN,
  -0,
  0,
  1,
  -1,
  0.5,
  1e-320,
  3.5e38,
  1e300,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 33 + 1,
  2 ** 53,
  -(2 ** 31),
  -(2 ** 53),
  Infinity,
  -Infinity,
  0n,
  7n,
  2n ** 70n,
  Symbol.iterator,
  Symbol('named'),
];
const OBJECTS = [
  () => ({}),
  () => [],
  () => [1],
  () => Object.create(null),
  () => () => 0,
  () => async () => 0,
  () => new Date(NaN),
  () => /x/,
  () => new Map(),
  () => Object(3),
  () => Object('f32'),
  () => new Proxy({}, {}),
  () => new Proxy(() => 0, {}),
  () => () => undefined,
  () => ({ toString: 1 }),
  () => ({ [Symbol.toPrimitive]: () => 3 }),
  () => new Error('an error'),
  () => ({ length: 2 ** 53 }),
  () => ({ length: -1 }),
  () => new Float32Array(0),
  () => new Uint8Array(8),
  () => Promise.resolve(1),
  () => new WeakMap(),
];
const hostile = (r) => (r.below(3) === 0 ? r.pick(OBJECTS)() : r.pick(VALUES));

const shown = (v) => {
  try {
    return typeof v === 'object' && v !== null ? (v.constructor?.name ?? 'bare object') : `${typeof v} ${String(v)}`;
  } catch {
    return typeof v;
  }
};

/** Any argument, or what one holds, of any kind. */
export function otherValue(call, r) {
  const all = parts(call.args);
  if (all.length === 0) return undefined;
  const scalars = all.filter(({ value }) => typeof value !== 'object' || value === null);
  const { path } = scalars.length > 0 && r.below(3) > 0 ? r.pick(scalars) : r.pick(all);
  const value = hostile(r);
  if (Object(value) === value) strange.add(value);
  (call.replaced ??= new Set()).add(path);
  put(call.args, path, value);
  return `${path} = ${shown(value)}`;
}

/** Numbers near the right one, and far from it. */
export function otherNumber(call, r) {
  const all = parts(call.args).filter(({ value }) => typeof value === 'number');
  if (all.length === 0) return undefined;
  const { path, value } = r.pick(all);
  const to = r.pick([
    value + 1,
    value - 1,
    2 * value,
    -value,
    value * 1000,
    value + 0.5,
    value * 2 ** 20,
    2 ** 31 - value,
    2 ** 53 - value,
    value / 2,
  ]);
  put(call.args, path, to);
  return `${path} = ${to} for ${value}`;
}

/** Arguments left out, from some place on; or one more. */
export function otherCount(call, r) {
  const n = call.args.length;
  if (r.below(4) === 0) call.args.push(hostile(r));
  else call.args.length = r.below(n + 1);
  return call.args.length === n ? undefined : `${call.args.length} of ${n} arguments`;
}

/** Something that an object of options holds is left out, or there is something that nobody asked for. */
export function otherKeys(call, r) {
  const all = parts(call.args).filter(({ value }) => isOpen(value) && !Array.isArray(value));
  if (all.length === 0) return undefined;
  const { path } = r.pick(all);
  const value = { ...at(call.args, path) };
  const keys = Object.keys(value);
  if (keys.length === 0 || r.below(4) === 0) {
    const key = r.pick(['__proto__x', 'constructor', 'toString', 'length', 'then', 'data', 'unknown']);
    Object.defineProperty(value, key, { value: hostile(r), enumerable: true, configurable: true, writable: true });
    put(call.args, path, value);
    call.hasStray = true;
    return `${path} with ${key}`;
  }
  const key = r.pick(keys);
  Reflect.deleteProperty(value, key);
  put(call.args, path, value);
  return `${path} without ${key}`;
}

/** Frozen options, or such without a prototype, or of a class with getters. Must be taken. */
export function otherObject(call, r) {
  const kinds = call.isData || call.hasStray ? 2 : 3; // of requests own fields count alone, and so do names that nobody knows
  const all = parts(call.args).filter(({ value }) => isOpen(value) && !Array.isArray(value));
  if (all.length === 0) return undefined;
  const { path } = r.pick(all);
  const plain = { ...at(call.args, path) };
  const how = r.below(kinds);
  const made = [
    () => Object.freeze({ ...plain }),
    () => Object.assign(Object.create(null), plain),
    () => {
      const holder = {};
      for (const key of Object.keys(plain))
        Object.defineProperty(holder, key, { get: () => plain[key], enumerable: true });
      return Object.create(holder);
    },
  ][how]();
  standsFor.set(made, plain);
  put(call.args, path, made);
  return `${path} ${['frozen', 'without prototype', 'inherited getters'][how]}`;
}
