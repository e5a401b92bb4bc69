import { checkInteger, checkOneOf, describe, KindError, ShapeError, takeList } from '@megamoe/core';
import { bytesOf, type Dtype, type Tensor } from '@megamoe/ops';
import type { Device, Memory } from './device';

const DTYPES: readonly Dtype[] = ['f32', 'i32', 'u8', 'bf16', 'e4m3'];

/** More axes than any tensor has. */
const MOST_AXES = 64;

/** More elements than any GPU holds. */
const MOST_ELEMENTS = 2 ** 42;

/** A shape that a caller passed, each length read once. */
function takeShape(fn: string, shape: readonly number[]): readonly number[] {
  return takeList(fn, 'shape', shape, MOST_AXES, (n, i) => {
    checkInteger(fn, `shape[${i}]`, n as number, 0);
    return n as number;
  });
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** A tensor in the memory of a GPU. */
export class DeviceTensor implements Tensor {
  readonly #device: Device;
  readonly #memory: Memory;
  /** Bytes from the beginning of the memory. */
  readonly #offset: number;
  readonly #held: Dtype;
  readonly length: number;

  private constructor(
    device: Device,
    memory: Memory,
    readonly dtype: Dtype,
    readonly shape: readonly number[],
    offset: number,
    private readonly isView: boolean,
  ) {
    this.#device = device;
    this.#memory = memory;
    this.#offset = offset;
    this.#held = dtype;
    this.length = product(shape);
    Object.freeze(this);
  }

  /** A tensor of zeros. */
  static zeros(fn: string, device: Device, dtype: Dtype, given: readonly number[]): DeviceTensor {
    checkOneOf(fn, 'dtype', dtype, DTYPES);
    const shape = Object.freeze(takeShape(fn, given));
    const length = product(shape);
    if (length > MOST_ELEMENTS)
      throw new ShapeError(`${fn}: a tensor must have at most 2^42 elements, ${shape.join('*')} is ${length}`);
    return new DeviceTensor(device, device.alloc(fn, length * bytesOf(dtype)), dtype, shape, 0, false);
  }

  /** A tensor on memory that somebody else frees. */
  static on(device: Device, memory: Memory, dtype: Dtype, shape: readonly number[], offset: number): DeviceTensor {
    return new DeviceTensor(device, memory, dtype, Object.freeze([...shape]), offset, true);
  }

  /** Whether it is one: made by this class, not an object that looks like one. */
  static is(x: unknown): x is DeviceTensor {
    return typeof x === 'object' && x !== null && #held in x;
  }

  /** Where it lies. @throws KindError after dispose, and for one of another backend */
  static addressOf(fn: string, arg: string, x: Tensor, device: Device): number {
    if (!DeviceTensor.is(x))
      throw new KindError(`${fn}: "${arg}" must be a tensor of this backend, got ${describe(x)}`);
    if (x.#device !== device) throw new KindError(`${fn}: "${arg}" is a tensor of another backend`);
    if (x.#memory.disposed) throw new KindError(`${fn}: "${arg}" has been disposed`);
    return x.#memory.address + x.#offset;
  }

  view(from: number, rows: number): DeviceTensor {
    const [all = 0, ...inner] = this.shape;
    checkInteger('tensor.view', 'from', from, 0, all);
    checkInteger('tensor.view', 'rows', rows, 0, all - from);
    const offset = this.#offset + from * product(inner) * bytesOf(this.#held);
    const shape = Object.freeze([rows, ...inner]);
    return new DeviceTensor(this.#device, this.#memory, this.#held, shape, offset, true);
  }

  dispose(): void {
    if (!this.isView) this.#memory.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
