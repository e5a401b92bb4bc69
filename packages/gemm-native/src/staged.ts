import {
  checkCapacity,
  checkInteger,
  checkKind,
  checkMultiple,
  checkObject,
  KindError,
  plainView,
  roundUp,
  sameBuffer,
  ShapeError,
} from '@megamoe/core';
import { badScale, checkStagedRoom, findBadScale, takeStagedSpec } from '@megamoe/ops';
import type { InputPrecision, Staged, StagedSpec } from '@megamoe/ops';
import { checkRowScale } from './checks';
import type { StagedMemory } from './engine';
import { adviseHugePages } from './memory';

/** What `createStaged` returns: memory for codes and for floats, whichever were asked for. */
export class HostStaged implements Staged, StagedMemory {
  readonly spec: StagedSpec;
  slots = 0;
  k = 0;
  inputs: InputPrecision;
  ownScales = false;
  /** R of what was staged last; 0 while nothing whole is there. */
  filled = 0;
  buffer: ArrayBuffer;
  codes: Uint8Array;
  sf: Uint8Array;
  rowScale: Float32Array;
  rows: Float32Array;
  disposed = false;
  /** Changes whenever what is staged does. */
  version = 0;
  readonly #isOne = true;

  constructor(given: StagedSpec, isNative: boolean) {
    const fn = 'createStaged';
    const { spec, sizes } = takeStagedSpec(fn, given);
    const { blocks, rowScales, floats } = sizes;
    this.spec = spec;
    this.inputs = spec.inputs[0]!;
    // One buffer, so that a look at it tells whether an argument lies in here; parts begin at lines of 64 bytes.
    const [codesAt, sfAt] = [roundUp(4 * floats, 64), roundUp(4 * floats, 64) + roundUp(8 * blocks, 64)];
    const rowScaleAt = sfAt + roundUp(blocks, 64);
    const bytes = rowScaleAt + 4 * rowScales;
    try {
      this.buffer = new ArrayBuffer(bytes);
      this.rows = new Float32Array(this.buffer, 0, floats);
      this.codes = new Uint8Array(this.buffer, codesAt, 8 * blocks);
      this.sf = new Uint8Array(this.buffer, sfAt, blocks);
      this.rowScale = new Float32Array(this.buffer, rowScaleAt, rowScales);
    } catch (cause) {
      throw new ShapeError(`${fn}: cannot allocate ${bytes} bytes`, { cause }); // or an array of that many elements
    }
    if (isNative) for (const part of [this.rows, this.codes]) adviseHugePages(part);
  }

  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is HostStaged {
    try {
      return (v as HostStaged).#isOne !== undefined; // #isOne in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

  get bytes(): number {
    return this.buffer.byteLength;
  }

  /** Throws unless R `rows` of k elements can be staged as `inputs`. Nothing is there until {@link fill}. */
  empty(fn: string, slots: number, k: number, inputs: InputPrecision): void {
    checkStagedRoom(fn, this.spec, slots, k, inputs);
    this.filled = 0;
    this.k = 0;
    this.version++;
  }

  /** Says what is there now: R `filled` of `slots` rows. */
  fill(slots: number, filled: number, k: number, inputs: InputPrecision, ownScales: boolean): void {
    this.slots = slots;
    this.filled = filled;
    this.k = k;
    this.inputs = inputs;
    this.ownScales = ownScales;
  }

  dispose(): void {
    this.disposed = true;
    this.version++;
    [this.filled, this.k] = [0, 0];
    this.buffer = new ArrayBuffer(0);
    this.codes = this.sf = new Uint8Array(this.buffer);
    this.rowScale = this.rows = new Float32Array(this.buffer);
  }
}

/** Throws KindError unless `v` is what `createStaged` made and has not been disposed. */
export function checkStaged(fn: string, arg: string, v: unknown): asserts v is HostStaged {
  if (!HostStaged.is(v)) throw new KindError(`${fn}: "${arg}" must come from createStaged`);
  if (v.disposed) throw new KindError(`${fn}: "${arg}" has been disposed`);
}

/** What {@link stagedArrays} gives, R rows of K. */
export type StagedArrays =
  | {
      readonly inputs: 'nvfp4';
      /** [R, K/2] u8, even element in the low nibble. */
      readonly codes: Uint8Array;
      /** [R, K/16] E4M3, row-major. */
      readonly sf: Uint8Array;
      /** [R] global decode scales where each row has its own, else null. */
      readonly rowScale: Float32Array | null;
    }
  | {
      readonly inputs: 'f32' | 'bf16';
      /** [R, K] f32, not rounded: products do that. */
      readonly rows: Float32Array;
    };

/**
 * Views of what was staged last: for traces, judges and tests. They are good until the next staging, and no operation takes them beside their
 * `staged`.
 * @throws KindError unless `staged` is of these kernels
 */
export function stagedArrays(staged: Staged): StagedArrays {
  checkStaged('stagedArrays', 'staged', staged);
  const { inputs, filled, k, codes, sf, rowScale, rows, ownScales } = staged;
  if (inputs !== 'nvfp4') return { inputs, rows: rows.subarray(0, filled * k) };
  return {
    inputs,
    codes: codes.subarray(0, (filled * k) / 2),
    sf: sf.subarray(0, (filled * k) / 16),
    rowScale: ownScales ? rowScale.subarray(0, filled) : null,
  };
}

/** What {@link stageFrom} takes. */
export interface StageFromArgs {
  /** Written. */
  readonly staged: Staged;
  /** R, in slot order. */
  readonly rows: number;
  /** A multiple of 16. */
  readonly k: number;
  /** [R, K/2] u8, even element in the low nibble. */
  readonly codes: Uint8Array;
  /** [R, K/16] E4M3, row-major; NaN or negative is a ValueError. */
  readonly sf: Uint8Array;
  /** [R] f32: global decode scales of the rows, for products whose alpha does not hold them. */
  readonly rowScale?: Float32Array | null;
}

/**
 * Stages codes that someone else made: a copy of rows that another kernel quantized, to be multiplied as if `stage` had written them.
 * @throws KindError, ShapeError, ValueError; nothing is staged then
 */
export function stageFrom(args: StageFromArgs): void {
  const fn = 'stageFrom';
  checkObject(fn, 'args', args);
  const { staged, rows, k, codes, sf, rowScale = null } = args;
  checkStaged(fn, 'staged', staged);
  checkInteger(fn, 'rows', rows, 0);
  checkInteger(fn, 'k', k, 16);
  checkMultiple(fn, 'k', k, 16);
  checkKind(fn, 'codes', codes, Uint8Array);
  checkKind(fn, 'sf', sf, Uint8Array);
  checkCapacity(fn, 'codes', codes, 'rows*k/2', (rows * k) / 2);
  checkCapacity(fn, 'sf', sf, 'rows*k/16', (rows * k) / 16);
  if (rowScale !== null) {
    checkKind(fn, 'rowScale', rowScale, Float32Array);
    checkCapacity(fn, 'rowScale', rowScale, 'rows', rows);
  }
  const from = { codes: plainView(codes, Uint8Array), sf: plainView(sf, Uint8Array) };
  const scales = rowScale === null ? null : plainView(rowScale, Float32Array);
  for (const [arg, v] of Object.entries({ ...from, rowScale: scales }))
    if (v !== null && sameBuffer(v.buffer, staged.buffer))
      throw new ShapeError(`${fn}: "${arg}" must not lie in "staged"`);
  staged.empty(fn, rows, k, 'nvfp4');
  staged.codes.set(from.codes.subarray(0, (rows * k) / 2));
  staged.sf.set(from.sf.subarray(0, (rows * k) / 16));
  const bad = findBadScale(staged.sf, (rows * k) / 16);
  if (bad >= 0) throw badScale(fn, 'sf', staged.sf[bad]!, bad);
  if (scales !== null) {
    staged.rowScale.set(scales.subarray(0, rows));
    checkRowScale(fn, staged.rowScale, rows);
  }
  staged.fill(rows, rows, k, 'nvfp4', scales !== null);
}
