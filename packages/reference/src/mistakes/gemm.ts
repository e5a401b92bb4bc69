/** `grouped_gemm_nvfp4`: W4A4 rows of experts against their weights. */
import { E4M3_VALUES } from '@megamoe/core';
import { UNIT, type Prediction } from './compare';
import type { DumpReader } from './dump';
import { levelsOf, roundAt, type Level, type Point } from './levels';
import { decodeRow, dot, NIBBLE_MISTAKES, norm, type NibbleOrder } from './nibbles';
import { floatProblem, type FloatCandidate } from './problem';
import {
  bufferEvidence,
  raggedBlocks,
  readBuffer,
  rightBuffer,
  sameBytes,
  weightBlocks,
  wrongBuffers,
  type ScaleSource,
} from './scales';
import type { Sample } from './sample';
import type { Problem } from './types';

/** One operand as a kernel sees it. */
interface Operand {
  readonly codes: Uint8Array;
  /** Linear, [rows, kSf]. */
  readonly sf: Uint8Array;
  readonly order: NibbleOrder;
  /** Every row reads row 0. */
  readonly first?: boolean;
}

/** The expert of a row that no expert computes: its output is zero, or whatever stood there. */
const NOBODY = -1;
const UNWRITTEN = -2;

/** A grouped product, right or not. */
interface Product {
  readonly a: Operand;
  readonly b: Operand;
  /** [T] */
  readonly owner: Int32Array;
  /** [E] */
  readonly alpha: Float64Array;
}

/** Expert of each row by cumulative ends: the first with `ends[e] > row`, or `>= row` (left); NOBODY past the last end. */
export function ownersOf(ends: ArrayLike<number>, rows: number, left = false): Int32Array {
  return Int32Array.from({ length: rows }, (_, row) => {
    for (let e = 0; e < ends.length; e++) if (left ? ends[e]! >= row : ends[e]! > row) return e;
    return NOBODY;
  });
}

/** `[0, ends...]` cut to E entries. */
export function leadingZero(ends: Int32Array): Int32Array {
  return Int32Array.from(ends, (_, e) => (e === 0 ? 0 : ends[e - 1]!));
}

/** Sums that are rounded after each `step` elements of K; a product is rounded once, before alpha. */
const SUMS: readonly (Point & { step: number })[] = [
  { id: 'product', text: 'the product before alpha', step: Infinity },
  ...[64, 128, 256].map((step) => ({
    id: `sum-${step}`,
    text: `the running sum after each ${step} elements of K`,
    step,
  })),
];

/** Decoded numbers that are kept. */
const KEPT_NUMBERS = 3e7;

/** Dots and norms of sampled products, remembered as long as the operands are the same. */
class Products {
  readonly #known = new Map<string, { dots: Float64Array; errors: Float64Array }>();
  readonly #ids = new Map<object, number>();
  #kept = 0;
  readonly #rows = new Map<string, Map<number, { values: Float64Array; length: number }>>();

  constructor(
    readonly k: number,
    readonly n: number,
  ) {}

  #id(x: object): number {
    if (!this.#ids.has(x)) this.#ids.set(x, this.#ids.size);
    return this.#ids.get(x)!;
  }

  predict({ a, b, owner, alpha }: Product, level: Level, sample: Sample): Prediction {
    const { rows, columns } = sample;
    const { dots, errors } = this.#dots(a, b, owner, level, sample);
    const want = new Float64Array(dots.length);
    const noise = new Float64Array(dots.length);
    for (let i = 0; i < rows.length; i++) {
      const e = owner[rows[i]!]!;
      for (let j = 0; j < columns.length; j++) {
        const at = i * columns.length + j;
        if (e < 0) {
          noise[at] = e === UNWRITTEN ? Infinity : 0;
          continue;
        }
        want[at] = dots[at]! * alpha[e]!;
        noise[at] = errors[at]! * Math.abs(alpha[e]!);
      }
    }
    return { want, noise };
  }

  /** Products without alpha, and the bound of their errors. */
  #dots(
    a: Operand,
    b: Operand,
    owner: Int32Array,
    level: Level,
    { rows, columns }: Sample,
  ): { dots: Float64Array; errors: Float64Array } {
    const { id, step } = SUMS.find((sum) => level.exact.has(sum.id)) ?? { id: '', step: Infinity };
    const key = [rows, columns, a.codes, a.sf, b.codes, b.sf, owner].map((x) => this.#id(x)).join();
    const full = `${key},${a.order},${b.order},${a.first ?? false},${id && level.dtype} ${id}`;
    const known = this.#known.get(full);
    if (known) return known;
    const dots = new Float64Array(rows.length * columns.length);
    const errors = new Float64Array(dots.length);
    const { n, k } = this;
    const factor = UNIT * (8 + Math.sqrt(k) / 4);
    for (const e of new Set(Array.from(rows, (row) => owner[row]!))) {
      if (e < 0) continue;
      const mine = Array.from(rows.keys()).filter((i) => owner[rows[i]!] === e);
      const as = mine.map((i) => this.#row(a, rows[i]!));
      const sums = new Float64Array(mine.length);
      const moves = new Float64Array(mine.length);
      for (let j = 0; j < columns.length; j++) {
        const w = this.#row(b, e * n + columns[j]!);
        sums.fill(0);
        moves.fill(0);
        for (let start = 0; start < k; start += step) {
          const part = w.values.subarray(start, start + step);
          as.forEach(({ values, length }, at) => {
            sums[at]! += dot(step < k ? values.subarray(start, start + step) : values, part);
            moves[at]! += factor * length * w.length;
          });
          roundAt(level, id, sums, moves);
        }
        mine.forEach((i, at) => {
          dots[i * columns.length + j] = sums[at]!;
          errors[i * columns.length + j] = factor * as[at]!.length * w.length + (id ? moves[at]! : 0);
        });
      }
    }
    const result = { dots, errors };
    if (this.#known.size < 64) this.#known.set(full, result);
    return result;
  }

  /** A decoded row and its length. Most mistakes leave one operand right: its rows are kept while they are few. */
  #row({ codes, sf, order, first }: Operand, row: number): { values: Float64Array; length: number } {
    const { k } = this;
    const r = first ? 0 : row;
    const key = `${this.#id(codes)},${this.#id(sf)},${order}`;
    let known = this.#rows.get(key);
    if (!known) this.#rows.set(key, (known = new Map()));
    let decoded = known.get(r);
    if (decoded) return decoded;
    const scales = E4M3_VALUES;
    const values = decodeRow(codes, r, (block) => scales[sf[(r * k) / 16 + block]!]!, order, new Float64Array(k));
    decoded = { values, length: norm(values) };
    this.#kept += k;
    if (this.#kept < KEPT_NUMBERS) known.set(r, decoded);
    return decoded;
  }
}

/** Computes something when it is first asked for. */
export function lazy<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** Reads a `grouped_gemm_nvfp4` dump. */
export function GEMM(reader: DumpReader): Problem {
  const aCodes = reader.bytes('in.a_codes', ['T', 'K/2']);
  const k = reader.multipleOf('K', 16, 'in.a_codes');
  const aSf = reader.scales('in.a_sf', ['T', 'K/16']);
  const bCodes = reader.bytes('in.b_codes', ['E', 'N', 'K/2']);
  const bSf = reader.scales('in.b_sf', ['E', 'N', 'K/16']);
  const [t, experts, n] = [reader.size('T'), reader.size('E'), reader.size('N')];
  const ends = reader.offsets('in.expert_offsets', ['E'], t);
  const aGlobal = Float64Array.from(reader.floats('in.a_global_decode', ['E']).data);
  const bGlobal = Float64Array.from(reader.floats('in.b_global_decode', ['E']).data);
  const output = reader.floats('out', ['T', 'N'], 'anything');
  const sources: Record<'a' | 'b', ScaleSource> = {
    a: { sf: aSf, kSf: k / 16, blocks: raggedBlocks(ends), weights: false },
    b: { sf: bSf, kSf: k / 16, blocks: weightBlocks(experts, n), weights: true },
  };
  const buffers = { a: readGiven(reader, 'in.a_sf_swizzled'), b: readGiven(reader, 'in.b_sf_swizzled') };

  const products = new Products(k, n);
  const alphaOf = (f: (e: number) => number): Float64Array => Float64Array.from({ length: experts }, (_, e) => f(e));
  const right: Product = {
    a: { codes: aCodes, sf: aSf, order: 'right' },
    b: { codes: bCodes, sf: bSf, order: 'right' },
    owner: ownersOf(ends, t),
    alpha: alphaOf((e) => aGlobal[e]! * bGlobal[e]!),
  };
  const candidates: FloatCandidate[] = [];
  const add: Add = (id, rank, reading, product, detail, confirmed = false) => {
    const made = lazy(product);
    candidates.push({
      id,
      rank,
      reading,
      confirmed,
      predict: (sample, level) => products.predict(made(), level, sample),
      ...(detail === undefined ? {} : { detail }),
    });
  };

  const notes = addScales(add, right, sources, buffers);
  addOffsets(add, right, ends, sources.a, t);
  add('slots-all-token-0', 0, 'Every row reads row 0 of A', () => ({ ...right, a: { ...right.a, first: true } }));
  addGlobalScales(add, right, aGlobal, bGlobal, alphaOf);
  for (const { id, order, rank, reading } of NIBBLE_MISTAKES) {
    for (const side of ['a', 'b'] as const) {
      const which = `Codes of ${side.toUpperCase()}${reading ? `, ${reading}` : ''}`;
      add(id, rank, which, () => ({ ...right, [side]: { ...right[side], order } }));
    }
  }
  return floatProblem({
    output,
    m: t,
    n,
    cost: { perRow: k, perElement: k },
    levels: levelsOf([SUMS], []),
    right: (sample, level) => products.predict(right, level, sample),
    candidates,
    notes,
  });
}

type Add = (
  id: string,
  rank: 0 | 1,
  reading: string,
  product: () => Product,
  detail?: string,
  confirmed?: boolean,
) => void;

function readGiven(reader: DumpReader, name: string): { name: string; bytes: Uint8Array } | undefined {
  return reader.has(name) ? { name, bytes: reader.buffer(name) } : undefined;
}

/** Scale mistakes of A, of B, of both; and whatever the buffers hold that the kernel really got. */
function addScales(
  add: Add,
  right: Product,
  sources: Record<'a' | 'b', ScaleSource>,
  buffers: Record<'a' | 'b', { name: string; bytes: Uint8Array } | undefined>,
): string[] {
  const notes: string[] = [];
  const evidence = {
    a: buffers.a && bufferEvidence(buffers.a.name, buffers.a.bytes, sources.a),
    b: buffers.b && bufferEvidence(buffers.b.name, buffers.b.bytes, sources.b),
  };
  for (const found of [evidence.a, evidence.b]) if (found) notes.push(found.text);
  const byReading = new Map<string, Partial<Record<'a' | 'b', () => Uint8Array>>>();
  for (const side of ['a', 'b'] as const) {
    for (const { id, rank, reading, buffer } of wrongBuffers(sources[side])) {
      const sf = lazy(() => readBuffer(buffer(), sources[side]));
      const which = `Scales of ${side.toUpperCase()}${reading ? `, ${reading}` : ''}`;
      const wrong = evidence[side];
      add(
        id,
        rank,
        which,
        () => ({ ...right, [side]: { ...right[side], sf: sf() } }),
        wrong?.text,
        wrong?.ids.includes(id),
      );
      const key = `${id} ${rank} ${reading}`;
      byReading.set(key, { ...byReading.get(key), [side]: sf });
    }
  }
  for (const [key, { a, b }] of byReading) {
    if (!a || !b) continue;
    const [id, rank, ...reading] = key.split(' ');
    const which = ['Scales of A and B', reading.join(' ')].filter(Boolean).join(', ');
    add(id!, Number(rank) as 0 | 1, which, () => ({
      ...right,
      a: { ...right.a, sf: a() },
      b: { ...right.b, sf: b() },
    }));
  }
  // What the kernel got explains the output even when two mistakes met, or one that nobody knows.
  const given = (['a', 'b'] as const).filter(
    (side) => buffers[side] && !sameBytes(buffers[side].bytes, rightBuffer(sources[side])),
  );
  if (given.length > 0) {
    const ids = new Set(given.flatMap((side) => evidence[side]!.ids));
    const text = given.map((side) => evidence[side]!.text).join(' ');
    const product = lazy((): Product => ({
      ...right,
      ...Object.fromEntries(
        given.map((side) => [side, { ...right[side], sf: readBuffer(buffers[side]!.bytes, sources[side]) }]),
      ),
    }));
    const reading = `Scales as ${given.map((side) => buffers[side]!.name).join(' and ')} hold${given.length > 1 ? '' : 's'} them`;
    for (const id of ids.size > 0 ? ids : ['scales-buffer-wrong']) add(id, 1, reading, product, text, true);
  }
  return notes;
}

function addOffsets(add: Add, right: Product, ends: Int32Array, source: ScaleSource, t: number): void {
  const buffer = lazy(() => rightBuffer(source));
  const shifted = leadingZero(ends);
  const owner = ownersOf(shifted, t);
  add('offsets-leading-zero', 0, '', () => ({ ...right, owner }));
  if (owner.includes(NOBODY) && owner.some((e) => e >= 0)) {
    const skipped = owner.map((e) => (e === NOBODY ? UNWRITTEN : e));
    add('offsets-leading-zero', 1, 'Rows that no expert owns are left as they were', () => ({
      ...right,
      owner: skipped,
    }));
  }
  // Scales read where right sfOffsets put each expert, while its rows are another's.
  const displaced = (owners: Int32Array, rowStart: (e: number) => number): Uint8Array => {
    const { sf, kSf, blocks } = source;
    const starts: number[] = [];
    let base = 0;
    for (const { rows } of blocks) {
      starts.push(base);
      base += Math.ceil(rows / 128) * 128;
    }
    const padded = readBuffer(buffer(), {
      sf: new Uint8Array(base * kSf),
      kSf,
      blocks: [{ start: 0, rows: base }],
      weights: false,
    });
    const out = new Uint8Array(sf.length);
    owners.forEach((e, row) => {
      if (e < 0) return;
      const from = (starts[e]! + row - rowStart(e)) * kSf;
      out.set(padded.subarray(Math.min(from, padded.length), Math.min(from + kSf, padded.length)), row * kSf);
    });
    return out;
  };
  add('offsets-leading-zero', 1, 'Scales of A read at the right sfOffsets, rows shifted', () => ({
    ...right,
    owner,
    a: { ...right.a, sf: displaced(owner, (e) => (e === 0 ? 0 : shifted[e - 1]!)) },
  }));
  const left = ownersOf(ends, t, true);
  add('offsets-searchsorted-left', 0, '', () => ({ ...right, owner: left }));
  const before = right.owner.map((e, row) => (e > 0 && row === (ends[e - 1] ?? 0) ? e - 1 : e));
  add('offsets-searchsorted-left', 1, 'First rows given to the expert one less', () => ({ ...right, owner: before }));
  if (left[0] !== right.owner[0]) {
    const kept = left.map((e, row) => (row === 0 ? right.owner[0]! : e));
    add('offsets-searchsorted-left', 1, 'Row 0 left to its expert', () => ({ ...right, owner: kept }));
  }
  add('offsets-searchsorted-left', 1, "Scales of A read in the other expert's block", () => ({
    ...right,
    owner: left,
    a: { ...right.a, sf: displaced(left, (e) => (e === 0 ? 0 : ends[e - 1]!)) },
  }));
}

function addGlobalScales(
  add: Add,
  right: Product,
  a: Float64Array,
  b: Float64Array,
  alphaOf: (f: (e: number) => number) => Float64Array,
): void {
  const scale = (id: string, rank: 0 | 1, reading: string, f: (e: number) => number): void =>
    add(id, rank, reading, () => ({ ...right, alpha: alphaOf(f) }));
  scale('global-scale-inverted', 0, "A's", (e) => b[e]! / a[e]!);
  scale('global-scale-inverted', 1, "B's", (e) => a[e]! / b[e]!);
  scale('global-scale-inverted', 1, 'Both', (e) => 1 / (a[e]! * b[e]!));
  scale('global-scale-missing', 0, "A's", (e) => b[e]!);
  scale('global-scale-missing', 1, "B's", (e) => a[e]!);
  scale('global-scale-missing', 1, 'Both', () => 1);
  scale('global-scale-twice', 0, "A's", (e) => a[e]! * a[e]! * b[e]!);
  scale('global-scale-twice', 1, "B's", (e) => a[e]! * b[e]! * b[e]!);
  scale('global-scale-twice', 1, 'Both', (e) => (a[e]! * b[e]!) ** 2);
  scale('global-scale-of-first-expert', 0, "A's", (e) => a[0]! * b[e]!);
  scale('global-scale-of-first-expert', 1, "A's and B's", () => a[0]! * b[0]!);
  scale('global-scale-of-first-expert', 1, "B's", (e) => a[e]! * b[0]!);
}
