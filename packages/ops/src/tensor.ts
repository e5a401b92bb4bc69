import {
  checkInteger,
  checkKind,
  describe,
  KindError,
  newArray,
  plainView,
  ShapeError,
  takeList,
  type TypedArrayClass,
} from '@megamoe/core';
import type { Dtype } from './kinds';

/**
 * A buffer of a backend, row-major. Operations are told how much of it to use: it may be larger. The model never looks inside.
 */
export interface Tensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Product of `shape`. */
  readonly length: number;
  /** Rows `[from, from + rows)` of the first axis, sharing memory. Disposing of a view does nothing. */
  view(from: number, rows: number): Tensor;
  /** Frees its memory now; using it after that is a KindError. Twice is fine. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** Typed arrays by element type: bf16 as bit patterns, e4m3 as bytes. */
export interface HostArrayOf {
  readonly f32: Float32Array;
  readonly i32: Int32Array;
  readonly u8: Uint8Array;
  readonly bf16: Uint16Array;
  readonly e4m3: Uint8Array;
}

/** Any of them. */
export type HostArray = HostArrayOf[Dtype];

const ARRAYS = { f32: Float32Array, i32: Int32Array, u8: Uint8Array, bf16: Uint16Array, e4m3: Uint8Array } as const;

/** Bytes of an element. */
export function bytesOf(dtype: Dtype): number {
  checkDtype('bytesOf', dtype);
  return ARRAYS[dtype].BYTES_PER_ELEMENT;
}

function checkDtype(fn: string, dtype: Dtype): void {
  if (typeof dtype === 'string' && Object.hasOwn(ARRAYS, dtype)) return;
  throw new KindError(`${fn}: "dtype" must be one of ${Object.keys(ARRAYS).join(', ')}, got ${describe(dtype)}`);
}

/** More axes than any tensor has. */
const MOST_AXES = 64;

/** A shape that a caller passed, each length read once. */
function takeShape(fn: string, shape: readonly number[]): readonly number[] {
  return takeList(fn, 'shape', shape, MOST_AXES, (n, i) => {
    checkInteger(fn, `shape[${i}]`, n as number, 0);
    return n as number;
  });
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** A tensor of a backend on the host: a typed array. */
export class HostTensor<D extends Dtype = Dtype> implements Tensor {
  #data: HostArrayOf[D];
  #disposed = false;
  /** Of what it holds, whatever has been written over `dtype`; null once disposed. */
  #held: D | null;
  readonly shape: readonly number[];
  readonly length: number;

  /** @throws KindError when `data` is no array of `dtype`; ShapeError when it has not the product of `shape` elements. */
  constructor(
    readonly dtype: D,
    given: readonly number[],
    data: HostArrayOf[D],
    private readonly isView = false,
  ) {
    checkDtype('tensor', dtype);
    const shape = isView ? given : takeShape('tensor', given);
    this.shape = shape;
    this.length = product(shape);
    checkKind<HostArray>('tensor', 'data', data, ARRAYS[dtype]);
    if (data.length !== this.length) {
      throw new ShapeError(`tensor: "data" must have length ${shape.join('*')} = ${this.length}, got ${data.length}`);
    }
    // Kernels take what a tensor holds for an array of the class itself.
    const isPlain = Object.getPrototypeOf(data) === ARRAYS[dtype].prototype;
    this.#data = isPlain ? data : plainView(data, ARRAYS[dtype] as unknown as TypedArrayClass<HostArrayOf[D]>);
    this.#held = dtype;
  }

  /** The memory of `x` when it is one of `dtype` that has not been disposed; else undefined. */
  static arrayOf<T extends Dtype>(x: unknown, dtype: T): HostArrayOf[T] | undefined {
    try {
      const tensor = x as HostTensor;
      if (tensor.#held === dtype) return tensor.#data as HostArrayOf[T];
    } catch {
      // no tensor of the host
    }
    return undefined;
  }

  /** Whether it is one: made by this class, not an object that looks like one. */
  static is(x: unknown): x is HostTensor {
    try {
      return (x as HostTensor).#data !== undefined; // #data in x takes several times as long in a running model
    } catch {
      return false;
    }
  }

  /** Its memory. @throws KindError after dispose */
  get data(): HostArrayOf[D] {
    if (this.#disposed)
      throw new KindError(`tensor: a ${this.dtype} tensor [${this.shape.join(', ')}] has been disposed`);
    return this.#data;
  }

  view(from: number, rows: number): HostTensor<D> {
    const [all = 0, ...inner] = this.shape;
    checkInteger('tensor.view', 'from', from, 0, all);
    checkInteger('tensor.view', 'rows', rows, 0, all - from);
    const width = product(inner);
    const data = this.data.subarray(from * width, (from + rows) * width) as HostArrayOf[D];
    return new HostTensor(this.dtype, [rows, ...inner], data, true);
  }

  dispose(): void {
    if (this.isView || this.#disposed) return;
    this.#disposed = true;
    this.#held = null;
    this.#data = new ARRAYS[this.dtype](0) as HostArrayOf[D];
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A host tensor of zeros. */
export function hostTensor<D extends Dtype>(dtype: D, shape: readonly number[]): HostTensor<D> {
  const fn = 'alloc';
  checkDtype(fn, dtype);
  const own = takeShape(fn, shape);
  const data = newArray<HostArray>(fn, 'data', ARRAYS[dtype], own.join('*'), product(own));
  return new HostTensor(dtype, own, data as HostArrayOf[D]);
}

/** A host tensor on the memory of `data`, which it does not copy: [length] where no shape is given. */
export function adoptTensor(
  data: Float32Array | Int32Array | Uint8Array | Uint16Array,
  shape?: readonly number[],
): HostTensor {
  const dtype = DTYPES[describe(data)];
  if (dtype === undefined)
    throw new KindError(
      `adoptTensor: "data" must be a Float32Array, Int32Array, Uint16Array or Uint8Array, got ${describe(data)}`,
    );
  return new HostTensor<Dtype>(dtype, shape ?? [data.length], data);
}

/** Element types by the class of an array, of any realm. */
const DTYPES: Readonly<Record<string, Dtype>> = {
  Float32Array: 'f32',
  Int32Array: 'i32',
  Uint16Array: 'bf16',
  Uint8Array: 'u8',
};

/** The typed array of a host tensor. @throws KindError when it is none, naming operation and argument */
export function hostArray<D extends Dtype>(fn: string, arg: string, x: unknown, dtype: D): HostArrayOf[D] {
  return HostTensor.arrayOf(x, dtype) ?? noHostArray(fn, arg, x, dtype);
}

function noHostArray(fn: string, arg: string, x: unknown, dtype: Dtype): never {
  const isTensor = HostTensor.is(x);
  if (isTensor) void x.data; // throws when it has been disposed
  const got = isTensor ? `a tensor of ${x.dtype}` : describe(x);
  throw new KindError(`${fn}: "${arg}" must be a host tensor of ${dtype}, got ${got}`);
}
