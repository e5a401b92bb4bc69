import fc from 'fast-check';
import type { FuzzCall } from './fuzz';
import { type Seeded, seeded } from './seeded';

/** A kind of argument, as the list of operations describes it: `@megamoe/ops` has the rules. */
interface Kind {
  readonly kind: string;
  readonly dtype?: string;
  readonly shape?: string;
  readonly access?: string;
  readonly optional?: boolean;
  readonly min?: number | string;
  readonly below?: string;
  readonly ends?: string;
  readonly inPlace?: string;
  readonly max?: string;
  readonly multipleOf?: number;
  readonly of?: string | readonly string[];
}

/** Operations by name, as `OPS` of `@megamoe/ops` lists them. */
export type OpList = Readonly<Record<string, { readonly args: Readonly<Record<string, Kind>> }>>;

type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;
type Values = Record<string, unknown>;

const CLASSES = {
  f32: Float32Array,
  f64: Float64Array,
  i32: Int32Array,
  u8: Uint8Array,
  bf16: Uint16Array,
  e4m3: Uint8Array,
};

const compiled = new Map<string, (values: Values) => unknown>();

/** What a formula over the other arguments gives; 1 where it gives nothing, because an argument is null or no number. */
function evaluate(formula: string, values: Values): number {
  let f = compiled.get(formula);
  if (f === undefined) {
    const code = formula.replace(/[a-zA-Z][\w.]*/g, (name) => `v.${name.replaceAll('.', '?.')}`);
    compiled.set(formula, (f = new Function('v', `return ${code}`) as (values: Values) => unknown));
  }
  const n = Number(f(values));
  return Number.isFinite(n) ? Math.min(4096, Math.max(0, Math.floor(n))) : 1;
}

/** An array of n elements somewhere: mostly on its own, at times where trouble is. */
function place(
  r: Seeded,
  Class: new (buffer: ArrayBufferLike, at: number, n?: number) => TypedArray,
  n: number,
  arena: ArrayBuffer,
): TypedArray {
  const { BYTES_PER_ELEMENT: bytes } = Class as unknown as { BYTES_PER_ELEMENT: number };
  const where = r.int(40);
  if (where < 4) return new Class(new ArrayBuffer((n + 8) * bytes), 3 * bytes, n); // behind something
  if (where < 10 && (n + 40) * bytes <= arena.byteLength) {
    const room = arena.byteLength / bytes - n;
    return new Class(arena, r.int(3) === 0 ? 0 : r.int(Math.min(room, 40)) * bytes, n); // over others
  }
  if (where === 10) return new Class(new SharedArrayBuffer(n * bytes), 0, n);
  if (where === 11) {
    // It follows the length of its buffer, which is shorter or longer than it was.
    const buffer = new (
      ArrayBuffer as unknown as new (n: number, o: object) => ArrayBuffer & { resize(n: number): void }
    )((n + 4) * bytes, { maxByteLength: (n + 8) * bytes });
    const array = new Class(buffer, 0);
    buffer.resize(Math.max(0, n + r.int(3) - 1) * bytes);
    return array;
  }
  return new Class(new ArrayBuffer(n * bytes), 0, n);
}

function tensorOf(r: Seeded, kind: Kind, values: Values, arena: ArrayBuffer): TypedArray | null {
  if (kind.optional === true && r.int(4) === 0) return null;
  const { shape = '', dtype = 'f32' } = kind;
  const right = shape === '' ? (kind.ends === undefined ? 16 * r.int(4) : r.int(4)) : evaluate(shape, values);
  const n = r.int(12) === 0 ? Math.max(0, right - 1) : right + (r.int(8) === 0 ? 3 : 0);
  const made = place(r, CLASSES[dtype as keyof typeof CLASSES] as never, n, arena);
  if (kind.ends !== undefined) {
    let end = 0;
    for (let i = 0; i < made.length; i++)
      made[i] = end = Math.min(evaluate(kind.ends, values) + (r.int(30) === 0 ? 1 : 0), end + r.int(3));
  } else if (dtype === 'i32') {
    const [min, below] = [evaluateMin(kind.min), evaluate(kind.below ?? '3', values)];
    for (let i = 0; i < made.length; i++) made[i] = r.int(60) === 0 ? below : min + r.int(Math.max(1, below - min));
  } else {
    made.fill(dtype === 'u8' ? 0x31 : r.int(20) === 0 ? [NaN, Infinity, 0, -3e38][r.int(4)]! : 1);
  }
  return made;
}

const evaluateMin = (min: number | string | undefined): number => Number(min ?? 0);

/** A right value of a kind that is no tensor, or nearly. */
function scalarOf(
  r: Seeded,
  kind: Kind,
  values: Values,
  handles: Readonly<Record<string, readonly unknown[]>>,
): unknown {
  switch (kind.kind) {
    case 'handle': {
      const made = handles[kind.of as string] ?? [null];
      return made[r.int(made.length)];
    }
    case 'count': {
      const max = kind.max === undefined ? Infinity : evaluate(kind.max, values);
      const n = Math.min(max, Number(kind.min ?? 0) + [0, 1, 2, 3, 15, 16, 31, 32][r.int(8)]!);
      return n - (n % (kind.multipleOf ?? 1));
    }
    case 'choice':
      return kind.of![r.int(kind.of!.length)];
    case 'flag':
      return r.int(2) === 0;
    default:
      return [1e-6, 1, 10, 0][r.int(r.int(4) === 0 ? 4 : 3)];
  }
}

/** Arguments that are another array each time they are asked for. */
function fickle(args: Values, arena: ArrayBuffer): Values {
  const out: Values = {};
  const memory = arena.byteLength === 0 ? new ArrayBuffer(128) : arena; // it may be detached
  for (const [name, value] of Object.entries(args)) {
    let asked = 0;
    const other = ArrayBuffer.isView(value) ? new (value.constructor as Float32ArrayConstructor)(memory, 0, 16) : value;
    Object.defineProperty(out, name, { enumerable: true, get: () => (asked++ % 3 === 2 ? other : value) });
  }
  return out;
}

/**
 * Calls of operations with their arguments by name, derived from a list of operations: nearly right, so that most reach the kernels. Arrays
 * lie at odd offsets, over each other, in shared memory, in buffers that change their length or have been detached, and at times an argument is of any
 * kind.
 * @param handles for each name of a handle, some to choose from
 */
export function callsOf(
  ops: OpList,
  names: readonly string[],
  handles: Readonly<Record<string, readonly unknown[]>> = {},
): fc.Arbitrary<FuzzCall> {
  const wrong: readonly unknown[] = [
    undefined,
    null,
    true,
    '',
    NaN,
    -1,
    0.5,
    2 ** 31,
    2 ** 53,
    1n,
    {},
    [],
    Symbol.iterator,
    new Float64Array(8),
    new Float32Array(0),
    new ArrayBuffer(8),
  ];
  return fc.tuple(fc.constantFrom(...names), fc.integer()).map(([name, seed]): FuzzCall => {
    const r = seeded(seed);
    const arena = new ArrayBuffer(1 << 12);
    const kinds = Object.entries(ops[name]!.args);
    const args: Values = {};
    for (const [arg, kind] of kinds) if (kind.kind !== 'tensor') args[arg] = scalarOf(r, kind, args, handles);
    for (const [arg, kind] of kinds) if (kind.kind === 'tensor') args[arg] = tensorOf(r, kind, args, arena);
    for (const [arg, kind] of kinds) {
      if (kind.inPlace !== undefined && r.int(4) === 0) args[arg] = args[kind.inPlace];
      if (r.int(40) === 0) args[arg] = wrong[r.int(wrong.length)];
      const made = args[arg];
      if (r.int(100) === 0 && ArrayBuffer.isView(made) && made.buffer instanceof ArrayBuffer && made.byteLength > 0)
        structuredClone(made.buffer, { transfer: [made.buffer] }); // it is detached now
    }
    return [name, [r.int(20) === 0 ? fickle(args, arena) : args]];
  });
}

/**
 * Calls that changed a little: one or two arguments of a call become another call's, shorter, of any kind, or an array over that of another
 * argument. For functions that take arguments by position, from calls that were right.
 */
export function changedCalls(calls: readonly FuzzCall[]): fc.Arbitrary<FuzzCall> {
  const wrong: readonly unknown[] = [
    undefined,
    null,
    true,
    'x',
    NaN,
    -1,
    0,
    3,
    1.5,
    2 ** 31,
    2 ** 53,
    {},
    [],
    new Float64Array(8),
    new Uint8Array(3),
    new Float32Array(0),
  ];
  return fc.tuple(fc.nat(calls.length - 1), fc.integer()).map(([at, seed]): FuzzCall => {
    const r = seeded(seed);
    const [name, right] = calls[at]!;
    // Copies: a call that went through has changed its outputs, and may have changed its inputs.
    const args = right.map((v) => (ArrayBuffer.isView(v) ? (v as TypedArray).slice() : v));
    for (let change = r.int(3); change > 0; change--) {
      const i = r.int(args.length);
      const v = args[i];
      const other = args[r.int(args.length)];
      const how = r.int(4);
      if (how === 0) args[i] = wrong[r.int(wrong.length)];
      else if (how === 1 && ArrayBuffer.isView(v))
        args[i] = (v as TypedArray).subarray(0, r.int((v as TypedArray).length + 1));
      else if (how === 2 && typeof v === 'number') args[i] = v + [-1, 1, 16, 1000][r.int(4)]!;
      else if (ArrayBuffer.isView(v) && ArrayBuffer.isView(other)) {
        // The same number of elements, from somewhere in the memory of the other argument.
        const { BYTES_PER_ELEMENT: bytes, length } = v as TypedArray;
        const whole = new ArrayBuffer(other.byteLength + v.byteLength + 64);
        new Uint8Array(whole).set(new Uint8Array(other.buffer, other.byteOffset, other.byteLength));
        const Other = other.constructor as Float32ArrayConstructor;
        args[args.indexOf(other)] = new Other(whole, 0, (other as TypedArray).length);
        const begin = r.int(Math.floor(other.byteLength / bytes) + 1) * bytes;
        const over = new (v.constructor as Float32ArrayConstructor)(whole, begin, length);
        if (r.int(2) === 0 && begin === 0)
          new Uint8Array(whole).set(new Uint8Array(v.buffer, v.byteOffset, v.byteLength));
        args[i] = over;
      }
    }
    return [name, args];
  });
}
