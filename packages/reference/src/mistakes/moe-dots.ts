/**
 * Products of vectors with rows of a projection, each computed once: most mistakes change the scales of one operand, or which rows meet,
 * and leave the rest as it is. A global scale is no part of a product, so that mistakes about it cost nothing here.
 */
import { E4M3_VALUES } from '@megamoe/core';
import { dot, FOUND_AT, HIGH, LOW, norm, type NibbleOrder } from './nibbles';

/** A projection's weights of all experts, as a kernel sees them. */
export interface Weights {
  /** Weights with the same key have the same codes and scales. */
  readonly key: string;
  /** [E, rows, K/2] */
  readonly codes: Uint8Array;
  /** [E, rows, K/16] */
  readonly sf: Uint8Array;
  readonly order: NibbleOrder;
  /** [E] */
  readonly global: Float64Array;
}

/** One input [K] of a projection. */
export class Vector {
  readonly length: number;
  readonly #packed = new Map<NibbleOrder, Float64Array>();

  constructor(readonly values: Float64Array) {
    this.length = norm(values);
  }

  /** The elements in the order of the nibbles that they meet when codes are read in `order`. */
  packed(order: NibbleOrder): Float64Array {
    if (order === 'right') return this.values;
    let packed = this.#packed.get(order);
    if (!packed) {
      const found = FOUND_AT[order];
      packed = new Float64Array(this.values.length);
      for (let i = 0; i < packed.length; i++) packed[(i & ~15) + found[i & 15]!] = this.values[i]!;
      this.#packed.set(order, packed);
    }
    return packed;
  }
}

/** Numbers that are kept; beyond, all are forgotten and made anew. */
const KEPT_NUMBERS = 3e7;

const SCALES = Float64Array.from(E4M3_VALUES);
const SQUARES = Float64Array.from({ length: 256 }, (_, byte) => LOW[byte]! ** 2 + HIGH[byte]! ** 2);

/** Products with one projection, `rows` of `k` elements an expert. */
export class Dots {
  #known = new Map<Vector, Map<string, Float64Array>>();
  #lengths = new Map<string, Float64Array>();
  #kept = 0;
  readonly #row: Float64Array;

  constructor(
    readonly rows: number,
    readonly k: number,
  ) {
    this.#row = new Float64Array(k);
  }

  #keep(numbers: number): Float64Array {
    this.#kept += numbers;
    if (this.#kept > KEPT_NUMBERS) {
      this.#known = new Map();
      this.#lengths = new Map();
      this.#kept = numbers;
    }
    return new Float64Array(numbers).fill(NaN);
  }

  #of(vector: Vector, key: string): Float64Array {
    let byKey = this.#known.get(vector);
    if (!byKey) this.#known.set(vector, (byKey = new Map()));
    let dots = byKey.get(key);
    if (!dots) byKey.set(key, (dots = this.#keep(this.rows)));
    return dots;
  }

  /**
   * For each vector its products with expert `e`'s rows, without the global scale, and the rows' lengths; of the rows `wanted`, what stands
   * elsewhere is nothing.
   */
  compute(
    weights: Weights,
    e: number,
    vectors: readonly Vector[],
    wanted: Int32Array,
  ): { dots: Float64Array[]; lengths: Float64Array } {
    const { codes, sf, order, key } = weights;
    const { k, rows } = this;
    const row = this.#row;
    const kSf = k / 16;
    const full = `${key},${order},${e}`;
    const dots = vectors.map((vector) => this.#of(vector, full));
    let lengths = this.#lengths.get(`${key},${e}`); // codes in another order are as long
    if (!lengths) this.#lengths.set(`${key},${e}`, (lengths = this.#keep(rows)));
    const packed = vectors.map((vector) => vector.packed(order));
    const missing: number[] = [];
    for (const n of wanted) {
      const [byte, scale] = [((e * rows + n) * k) / 2, (e * rows + n) * kSf];
      if (Number.isNaN(lengths[n])) lengths[n] = rowLength(codes, byte, sf, scale, kSf);
      missing.length = 0;
      for (let v = 0; v < dots.length; v++) if (Number.isNaN(dots[v]![n])) missing.push(v);
      if (missing.length === 1) {
        const v = missing[0]!;
        dots[v]![n] = rowDot(codes, byte, sf, scale, packed[v]!);
      } else if (missing.length > 1) {
        unpackRow(codes, byte, sf, scale, row);
        for (const v of missing) if (Number.isNaN(dots[v]![n])) dots[v]![n] = dot(row, packed[v]!);
      }
    }
    return { dots, lengths };
  }
}

function rowLength(codes: Uint8Array, byte: number, sf: Uint8Array, scale: number, kSf: number): number {
  let sum = 0;
  for (let block = 0; block < kSf; block++, byte += 8) {
    const s = SCALES[sf[scale + block]!]!;
    let squares = 0;
    for (let j = 0; j < 8; j++) squares += SQUARES[codes[byte + j]!]!;
    sum += squares * s * s;
  }
  return Math.sqrt(sum);
}

function rowDot(codes: Uint8Array, byte: number, sf: Uint8Array, scale: number, x: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i += 16, byte += 8, scale++) {
    let [low, high] = [0, 0];
    for (let j = 0; j < 8; j++) {
      const code = codes[byte + j]!;
      low += LOW[code]! * x[i + 2 * j]!;
      high += HIGH[code]! * x[i + 2 * j + 1]!;
    }
    sum += (low + high) * SCALES[sf[scale]!]!;
  }
  return sum;
}

function unpackRow(codes: Uint8Array, byte: number, sf: Uint8Array, scale: number, out: Float64Array): void {
  for (let i = 0; i < out.length; i += 16, byte += 8, scale++) {
    const s = SCALES[sf[scale]!]!;
    for (let j = 0; j < 8; j++) {
      const code = codes[byte + j]!;
      out[i + 2 * j] = LOW[code]! * s;
      out[i + 2 * j + 1] = HIGH[code]! * s;
    }
  }
}

/** `|w|` of element (row, column) of a projection [rows, k], without the global scale. */
export function magnitudeAt({ codes, sf, order }: Weights, row: number, column: number, k: number): number {
  const nibble = (column & ~15) + FOUND_AT[order][column & 15]!;
  const byte = codes[(row * k + nibble) >> 1]!;
  return Math.abs((nibble & 1 ? HIGH[byte]! : LOW[byte]!) * SCALES[sf[(row * k + column) >> 4]!]!);
}
