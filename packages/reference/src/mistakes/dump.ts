/** Reads tensors and parameters of a dump; whatever is missing or misshapen is an error that names it, what was expected and what came. */
import { CheckpointError, decodeBf16Array, decodeF16, type YarnParameters } from '@megamoe/core';
import type { FloatDtype } from './dtypes';
import type { Dump, DumpTensor } from './types';

/** A float tensor, decoded exactly. */
export interface Floats {
  readonly name: string;
  readonly dtype: FloatDtype;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** What a float tensor may hold besides finite numbers. */
export type Allowed = 'finite' | 'infinite' | 'anything';

const FLOATS = ['F32', 'BF16', 'F16'];
const INTEGERS = ['I32', 'I64'];
const BYTES = ['U8', 'F8_E4M3', 'I8'];

/** An axis: its size, or a name that the first tensor with it gives a size, `K/16` for a part of one. */
export type Axis = number | string;

/** Typed access to a {@link Dump}. */
export class DumpReader {
  readonly #sizes = new Map<string, number>();
  readonly #used = new Set<string>();

  constructor(readonly dump: Dump) {}

  /** An error about the dump, with its file, and the tensor when one is to blame. */
  fail(message: string, tensor?: string): CheckpointError {
    const where = [this.dump.file, tensor === undefined ? undefined : `tensor "${tensor}"`].filter(Boolean);
    return new CheckpointError([...where, message].join(': '), {
      ...(this.dump.file === undefined ? {} : { file: this.dump.file }),
      ...(tensor === undefined ? {} : { tensor }),
    });
  }

  has(name: string): boolean {
    return this.dump.tensors.has(name);
  }

  /** Size of a named axis that some tensor has fixed. */
  size(axis: string): number {
    return this.#sizes.get(axis)!;
  }

  /** Tensors nobody asked for. */
  unused(): string[] {
    return [...this.dump.tensors.keys()].filter((name) => !this.#used.has(name));
  }

  #parameter(name: string): unknown {
    const text = this.dump.metadata.get(name);
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text; // a plain word
    }
  }

  /** A number of `__metadata__`; without `fallback` it must be there. */
  number(
    name: string,
    { fallback, min = -Infinity, integer = false }: { fallback?: number; min?: number; integer?: boolean } = {},
  ): number {
    const value = this.#parameter(name);
    if (value === undefined && fallback !== undefined) return fallback;
    if (typeof value === 'number' && Number.isFinite(value) && value >= min && (!integer || Number.isInteger(value))) {
      return value;
    }
    const range = min === -Infinity ? '' : `, at least ${min}`;
    const found = value === undefined ? 'nothing' : JSON.stringify(this.dump.metadata.get(name));
    throw this.fail(`__metadata__ "${name}": expected ${integer ? 'an integer' : 'a number'}${range}, found ${found}`);
  }

  /** A word of `__metadata__`. */
  word<T extends string>(name: string, choices: readonly T[]): T {
    const value = this.#parameter(name);
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    const got = this.dump.metadata.get(name);
    throw this.fail(
      `__metadata__ "${name}": expected one of ${choices.join(', ')}, found ${got === undefined ? 'nothing' : JSON.stringify(got.slice(0, 200))}`,
    );
  }

  /** `yarn` as config.json spells it; absent, empty or null: no YaRN. */
  yarn(): YarnParameters | undefined {
    const value = this.#parameter('yarn');
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value !== 'object' || Array.isArray(value)) {
      throw this.fail(
        `__metadata__ "yarn": expected the JSON object of config.json's rope_scaling, found ${typeof value}`,
      );
    }
    const fields = value as Record<string, unknown>;
    const positive = (name: string, fallback?: number): number => {
      const x = fields[name] ?? fallback;
      if (typeof x === 'number' && Number.isFinite(x) && x > 0) return x;
      throw this.fail(
        `__metadata__ "yarn": "${name}" must be a number above 0, found ${JSON.stringify(x) ?? 'nothing'}`,
      );
    };
    return {
      factor: positive('factor'),
      betaFast: positive('beta_fast', 32),
      betaSlow: positive('beta_slow', 1),
      originalMaxPositionEmbeddings: positive('original_max_position_embeddings'),
    };
  }

  /** The stored tensor, its type and shape checked; names in `axes` are fixed by the first tensor that has them. */
  #tensor(name: string, axes: readonly Axis[], dtypes: readonly string[]): DumpTensor {
    const tensor = this.dump.tensors.get(name);
    if (!tensor)
      throw this.fail(`expected shape [${axes.join(', ')}] of ${dtypes.join(' or ')}, found no such tensor`, name);
    this.#used.add(name);
    if (!dtypes.includes(tensor.dtype)) {
      throw this.fail(`expected ${dtypes.join(' or ')}, found ${tensor.dtype}`, name);
    }
    const { shape } = tensor;
    const scalar = axes.length === 0 && shape.length === 1 && shape[0] === 1; // [1] for a scalar, as published files have it
    const fits = scalar || (shape.length === axes.length && axes.every((axis, i) => this.#axisFits(axis, shape[i]!)));
    if (!fits) {
      const sizes = axes.map((axis) => this.#axisSize(axis));
      const known = axes.some((axis) => typeof axis === 'string') && sizes.some((size) => typeof size === 'number');
      const want = `[${axes.join(', ')}]${known ? ` = [${sizes.join(', ')}]` : ''}`;
      throw this.fail(`expected shape ${want}, found [${shape.join(', ')}]`, name);
    }
    return tensor;
  }

  #axisSize(axis: Axis): number | string {
    if (typeof axis === 'number') return axis;
    const [base, part] = axis.split('/') as [string, string?];
    const size = this.#sizes.get(base);
    return size === undefined ? axis : part === undefined ? size : size / Number(part);
  }

  #axisFits(axis: Axis, size: number): boolean {
    const want = this.#axisSize(axis);
    if (typeof want === 'number') return want === size;
    const [base, part] = want.split('/') as [string, string?];
    this.#sizes.set(base, size * Number(part ?? 1));
    return true;
  }

  /** Bytes: codes and scales. */
  bytes(name: string, axes: readonly Axis[]): Uint8Array {
    return this.#tensor(name, axes, BYTES).bytes;
  }

  /** Bytes of any shape. */
  buffer(name: string): Uint8Array {
    const rank = this.dump.tensors.get(name)?.shape.length ?? 1;
    return this.#tensor(
      name,
      Array.from({ length: rank }, (_, i) => `${name}.axis${i}`),
      BYTES,
    ).bytes;
  }

  /** E4M3 block scales; a NaN is an error. */
  scales(name: string, axes: readonly Axis[]): Uint8Array {
    const bytes = this.bytes(name, axes);
    for (let i = 0; i < bytes.length; i++) {
      if ((bytes[i]! & 0x7f) === 0x7f)
        throw this.fail(`the scale at index ${i} is NaN (byte 0x${bytes[i]!.toString(16)})`, name);
    }
    return bytes;
  }

  /** Integers. */
  ints(name: string, axes: readonly Axis[]): Int32Array {
    const { dtype, bytes } = this.#tensor(name, axes, INTEGERS);
    if (dtype === 'I32') return new Int32Array(aligned(bytes));
    return Int32Array.from(new BigInt64Array(aligned(bytes)), (v, i) => {
      if (v !== BigInt.asIntN(32, v)) throw this.fail(`expected 32-bit integers, found ${v} at index ${i}`, name);
      return Number(v);
    });
  }

  /** Floats, decoded exactly. Inputs must be finite unless `allowed` says otherwise. */
  floats(name: string, axes: readonly Axis[], allowed: Allowed = 'finite'): Floats {
    const { dtype, shape, bytes } = this.#tensor(name, axes, FLOATS);
    const data =
      dtype === 'F32'
        ? new Float32Array(aligned(bytes))
        : dtype === 'BF16'
          ? decodeBf16Array(new Uint16Array(aligned(bytes)))
          : Float32Array.from(new Uint16Array(aligned(bytes)), decodeF16);
    if (allowed !== 'anything') {
      for (let i = 0; i < data.length; i++) {
        const v = data[i]!;
        if (Number.isFinite(v) || (allowed === 'infinite' && !Number.isNaN(v))) continue;
        throw this.fail(`an input must be finite, found ${v} at index ${i}: the output follows from that alone`, name);
      }
    }
    return { name, dtype: dtype as FloatDtype, shape, data };
  }

  /** Cumulative ends that do not decrease and end at `rows`. */
  offsets(name: string, axes: readonly Axis[], rows: number): Int32Array {
    const ends = this.ints(name, axes);
    let last = 0;
    ends.forEach((end, e) => {
      if (end < last) throw this.fail(`expected cumulative ends, found ${end} after ${last} at index ${e}`, name);
      last = end;
    });
    if (last !== rows) {
      throw this.fail(
        `expected the last end to be the number of rows, ${rows}, found ${last} (ends, without a leading zero)`,
        name,
      );
    }
    return ends;
  }

  /** Ids in `[min, max]`. */
  ids(name: string, axes: readonly Axis[], min: number, max: number): Int32Array {
    const ids = this.ints(name, axes);
    ids.forEach((id, i) => {
      if (id < min || id > max) throw this.fail(`expected ids in [${min}, ${max}], found ${id} at index ${i}`, name);
    });
    return ids;
  }

  /** An even or 16-fold axis, as FP4 wants it. */
  multipleOf(axis: string, of: number, tensor: string): number {
    const size = this.size(axis);
    if (size % of !== 0) throw this.fail(`expected ${axis} to be a multiple of ${of}, found ${size}`, tensor);
    return size;
  }
}

/** The bytes in a buffer of their own that starts at 0, so that any typed array fits over it. */
function aligned(bytes: Uint8Array): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = bytes;
  return byteOffset === 0 && byteLength === buffer.byteLength && buffer instanceof ArrayBuffer
    ? buffer
    : (bytes.slice().buffer as ArrayBuffer);
}
