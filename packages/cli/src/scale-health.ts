import {
  canonicalName,
  globalScaleOf,
  ReadBuffers,
  scaleOf,
  scanBlockScales,
  type Checkpoint,
  type GlobalScaleKey,
  type ModuleInfo,
  type TensorInfo,
} from '@megamoe/checkpoint';
import { CheckpointError, E4M3_VALUES, E8M0_VALUES } from '@megamoe/core';

/** Scales of one projection of one layer, all experts together. */
export interface ScaleRow {
  /** As in `layers.3.ffn.experts.*.w1`. */
  readonly module: string;
  readonly format: string;
  /** Matrices that the scales belong to: the largest block of each is at the largest scale, in NVFP4. */
  matrices: number;
  scales: number;
  /** E4M3 at 448, E8M0 at 2^127. */
  saturated: number;
  /** E4M3 at 2^-9, E8M0 at 2^-127. */
  minimum: number;
  zero: number;
  nan: number;
  /** How many scales have each power of two: exponent -> count. */
  readonly exponents: Record<string, number>;
  /** Range of the global scales as they are stored; absent where there are none. */
  globalScales?: { min: number; max: number };
}

/** What a checkpoint's scales and plain tensors look like. */
export interface CheckpointHealth {
  readonly rows: readonly ScaleRow[];
  /** NaN and infinite elements of tensors that are no matrices, and NaN global scales, by tensor. */
  readonly nonFinite: readonly { readonly tensor: string; readonly nan: number; readonly infinite: number }[];
  /** What a load refuses: sentences that name file and tensor. The elements that are not numbers are in `nonFinite` alone. */
  readonly refused: readonly string[];
  /** What makes garbage although it loads: sentences. */
  readonly garbage: readonly string[];
  /** What is odd: sentences, the worst first. */
  readonly problems: readonly string[];
}

/** How far a scan is, in bytes. */
export interface ScanStep {
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

/** Bytes of a matrix that are in memory at a time. */
const PIECE_BYTES = 4e6;
const FLOATS: readonly string[] = ['F32', 'BF16', 'F16'];
const isFourBit = ({ format }: ModuleInfo): boolean => format === 'nvfp4' || format === 'mxfp4';
const plural = (n: number, one: string): string => `${n} ${one}${n === 1 ? '' : 's'}`;

/** Things of a kind: how many there are of how many, and the first. */
class Tally {
  of = 0;
  count = 0;
  amount = 0;
  first = '';
  /** What is said of one alone. */
  alone = '';

  add(first: string, alone = '', amount = 1): void {
    if (this.count++ === 0) [this.first, this.alone] = [first, alone];
    this.amount += amount;
  }
}

/** Tallies by a key, made when they are asked for. */
class Tallies extends Map<string, Tally> {
  at(key: string): Tally {
    let tally = this.get(key);
    if (!tally) this.set(key, (tally = new Tally()));
    return tally;
  }
}

/** Bytes that are read of a module: scales of the 4-bit formats, whose codes may be anything, all of the others. */
function scannedBytes(m: ModuleInfo): number {
  if (isFourBit(m)) return scaleOf(m)!.bytes / (m.fused ? (m.fused.experts * m.fused.rows) / m.n : 1);
  return m.n * (m.format === 'fp8' ? m.k : m.k * (m.format === 'f32' ? 4 : 2));
}

/**
 * Goes through a checkpoint by the rules of those who load it: block scales, global scales, weights that are stored as floats or FP8, and tensors that
 * are no matrices. Memory is bounded by a piece of a matrix.
 */
export class HealthScan {
  readonly rows = new Map<string, ScaleRow>();
  /** Bytes of the block scales of all NVFP4 modules, [256]. */
  readonly nvfp4Counts = new Float64Array(256);
  private readonly refused: string[] = [];
  private readonly nonFinite: { tensor: string; nan: number; infinite: number }[] = [];
  private readonly inverted = new Tallies();
  private readonly absent = new Tallies();
  private readonly differing = new Tallies();
  private readonly erased = new Tally();
  private readonly allZero = new Tally();
  private readonly seen = new Set<string>();
  private readonly buffers = new ReadBuffers();
  private readonly codeBuffers = new ReadBuffers();
  private readonly globals = new Map<string, number>();

  constructor(private readonly checkpoint: Checkpoint) {}

  /** Runs it, a piece at a time. */
  *steps(): Generator<ScanStep, CheckpointHealth> {
    const { modules, draft, tensors } = this.checkpoint;
    const all = [
      ...[...modules.values()].map((m) => [m, true] as const),
      ...[...draft.modules.values()].map((m) => [m, false] as const),
    ];
    const inModules = new Set(all.flatMap(([m]) => [m.weight.name, ...[...m.companions.values()].map((t) => t.name)]));
    const plain = [...tensors.values()].filter((t) => !inModules.has(t.name));
    const total =
      all.reduce((sum, [m, isModel]) => sum + (isModel || isFourBit(m) ? scannedBytes(m) : 0), 0) +
      plain.reduce((sum, t) => sum + t.bytes, 0);
    let done = 0;
    for (const [m, isModel] of all) {
      for (const bytes of this.module(m, isModel)) yield { done: (done += bytes), total, what: m.name };
    }
    for (const t of plain) {
      this.plain(t);
      yield { done: (done += t.bytes), total, what: t.name };
    }
    this.compareGlobals();
    return {
      rows: [...this.rows.values()],
      nonFinite: this.nonFinite,
      refused: this.refused,
      garbage: [...this.inverted].flatMap(([key, t]) =>
        key.startsWith('weight') && 2 * t.count >= t.of && t.count > 1 ? [invertedText(key, t)] : [],
      ),
      problems: this.problems(),
    };
  }

  private *module(m: ModuleInfo, isModel: boolean): Generator<number> {
    this.companions(m, isModel);
    if (isFourBit(m)) {
      const scale = scaleOf(m)!;
      if (this.seen.has(scale.name)) return; // fused experts share theirs
      this.seen.add(scale.name);
      yield* this.blockScales(m);
    } else if (isModel) yield* this.weights(m);
  }

  private *blockScales(m: ModuleInfo): Generator<number> {
    const { counts, refused, erased } = yield* scanBlockScales(this.checkpoint, m, this.buffers, this.codeBuffers);
    if (refused) this.refused.push(refused.message);
    const row = this.row(m);
    row.matrices++;
    const isNvfp4 = m.format === 'nvfp4';
    const values = isNvfp4 ? E4M3_VALUES : E8M0_VALUES;
    counts.forEach((n, byte) => count(row, values[byte]!, n, isNvfp4));
    if (!isNvfp4) return;
    counts.forEach((n, byte) => (this.nvfp4Counts[byte]! += n));
    const { name, bytes } = scaleOf(m)!;
    const zeros = counts[0]! + counts[0x80]!;
    if (zeros === bytes) this.allZero.add(m.name);
    else if (erased > 0) this.erased.add(name, '', erased);
  }

  /** Reads a matrix as a load does, in pieces; what that throws is what a load refuses. */
  private *weights(m: ModuleInfo): Generator<number> {
    const rowBytes = scannedBytes(m) / m.n;
    const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
    for (let row = 0; row < m.n; row += step) {
      const rows = Math.min(step, m.n - row);
      try {
        this.checkpoint.linearRows(m.name, m.n, m.k, row, rows, this.buffers);
      } catch (error) {
        this.refuse(error);
        return;
      }
      yield rows * rowBytes;
    }
  }

  private refuse(error: unknown): void {
    if (!(error instanceof CheckpointError)) throw error;
    this.refused.push(error.message);
  }

  /** Global scales, and scales of tiles. */
  private companions(m: ModuleInfo, isModel: boolean): void {
    for (const [key, t] of m.companions) {
      const isE8m0 = m.format === 'fp8' && t.dtype === 'F8_E8M0';
      if (this.seen.has(t.name) || !(isE8m0 || FLOATS.includes(t.dtype))) continue;
      this.seen.add(t.name);
      if (m.format === 'nvfp4') this.globalScale(m, key as GlobalScaleKey, t, isModel);
      else {
        const row = this.row(m);
        row.matrices++;
        if (isE8m0) for (const byte of this.checkpoint.read(t.name)) count(row, E8M0_VALUES[byte]!, 1, false);
        else for (const value of this.checkpoint.readF32(t.name)) count(row, value, 1, undefined);
      }
    }
  }

  private globalScale(m: ModuleInfo, key: GlobalScaleKey, t: TensorInfo, isModel: boolean): void {
    const value = this.checkpoint.readF32(t.name)[0]!;
    const [inverted, absent] = [this.inverted.at(key), this.absent.at(key)];
    inverted.of++;
    absent.of++;
    this.globals.set(`${m.name}.${key}`, value);
    if (key.startsWith('weight') && !Number.isNaN(value)) {
      const row = this.row(m);
      const { min, max } = row.globalScales ?? { min: value, max: value };
      row.globalScales = { min: Math.min(min, value), max: Math.max(max, value) };
    }
    const scale = globalScaleOf(key, value);
    if ('absent' in scale) absent.add(t.name, `${t.name} is ${value} and counts as absent`);
    else if ('want' in scale) {
      if (Number.isNaN(value)) this.nonFinite.push({ tensor: t.name, nan: 1, infinite: 0 });
      else if (isModel) this.refused.push(`${t.file}: tensor "${t.name}": expected ${scale.want}, found ${value}`);
    } else if (scale.inverted !== undefined) inverted.add(t.name, `${t.name}: ${scale.inverted}`);
  }

  /** A tensor that is no matrix, as a load reads it, and NaN in any. */
  private plain(t: TensorInfo): void {
    if (FLOATS.includes(t.dtype)) {
      let [nan, infinite] = [0, 0];
      for (const v of this.checkpoint.readF32(t.name)) {
        if (Number.isNaN(v)) nan++;
        else if (!Number.isFinite(v)) infinite++;
      }
      if (nan + infinite > 0) this.nonFinite.push({ tensor: t.name, nan, infinite });
      if (infinite > 0 && nan === 0) this.vector(t);
    } else if (
      canonicalName(t.name).endsWith('.tid2eid') &&
      !this.checkpoint.draft.tensors.has(canonicalName(t.name))
    ) {
      try {
        this.checkpoint.ints(canonicalName(t.name), t.shape);
      } catch (error) {
        this.refuse(error);
      }
    }
  }

  /** Reads a tensor as a load does, where a load does: not all may be infinite. */
  private vector(t: TensorInfo): void {
    const name = canonicalName(t.name);
    if (this.checkpoint.draft.tensors.has(name)) return;
    try {
      this.checkpoint.vector(
        name,
        t.shape.reduce((a, b) => a * b, 1),
      );
    } catch (error) {
      this.refuse(error);
    }
  }

  /** Gate and up of an expert go through one product, which takes one input scale and, fused, one of the weights. */
  private compareGlobals(): void {
    for (const [name, value] of this.globals) {
      const [, layer, expert, key] = /^(layers\.\d+\.ffn\.experts)\.(\d+)\.w1\.(\w+)$/.exec(name) ?? [];
      if (layer === undefined) continue;
      const other = this.globals.get(`${layer}.${expert}.w3.${key}`);
      if (other !== undefined && other !== value) this.differing.at(`${layer}: ${key} of w1 and w3`).add(name);
    }
  }

  private problems(): string[] {
    const { erased, allZero } = this;
    return [
      ...[...this.inverted].flatMap(([key, t]) => (t.count === 0 ? [] : [invertedText(key, t)])),
      ...(allZero.count === 0
        ? []
        : [
            `all block scales of ${allZero.count === 1 ? '' : `${plural(allZero.count, 'matrix').replace('matrixs', 'matrices')}, as `}${allZero.first} are 0: all its weights decode as zeros`,
          ]),
      ...(erased.count === 0
        ? []
        : [
            `${plural(erased.amount, 'block scale')} in ${plural(erased.count, 'tensor')} ${erased.amount === 1 ? 'is' : 'are'} 0 over codes that are not, as in ${erased.first}: such blocks decode as zeros`,
          ]),
      ...[...this.absent].flatMap(([key, t]) =>
        t.count === 0
          ? []
          : t.count === 1
            ? [t.alone]
            : [`${t.count} of ${t.of} ${key} are 0, infinite or too small and count as absent, as ${t.first}`],
      ),
      ...[...this.differing].map(
        ([what, t]) => `${what} differ in ${plural(t.count, 'expert')}: a fused product needs one for both`,
      ),
    ];
  }

  private row(m: ModuleInfo): ScaleRow {
    const module = m.name.replace(/experts\.\d+/, 'experts.*');
    let row = this.rows.get(module);
    if (!row) {
      const none = { matrices: 0, scales: 0, saturated: 0, minimum: 0, zero: 0, nan: 0, exponents: {} };
      this.rows.set(module, (row = { module, format: m.format, ...none }));
    }
    return row;
  }
}

const invertedText = (key: string, t: Tally): string =>
  t.count === 1 ? t.alone : `global scales inverted in ${t.count} of ${t.of} (${key}), as ${t.alone}`;

/** Takes `n` scales of a value into a row; `isE4m3` undefined for scales that are floats, which have no ends. */
function count(row: ScaleRow, value: number, n: number, isE4m3: boolean | undefined): void {
  if (n === 0) return;
  row.scales += n;
  if (Number.isNaN(value)) row.nan += n;
  else if (value === 0) row.zero += n;
  else {
    if (value === (isE4m3 === undefined ? NaN : isE4m3 ? 448 : 2 ** 127)) row.saturated += n;
    if (value === (isE4m3 === undefined ? NaN : isE4m3 ? 2 ** -9 : 2 ** -127)) row.minimum += n;
    if (!Number.isFinite(value)) return;
    const exponent = String(Math.floor(Math.log2(Math.abs(value))));
    row.exponents[exponent] = (row.exponents[exponent] ?? 0) + n;
  }
}
