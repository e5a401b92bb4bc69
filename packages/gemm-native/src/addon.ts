import type { KernelAddon } from '@megamoe/native-kit';
import type { NativeFunction } from '@megamoe/ops';

/** Memory of packed weights, owned by the addon and freed when it is garbage. */
export interface NativeWeight {
  readonly bytes: number;
}

type F32 = Float32Array;
type I32 = Int32Array;
type U8 = Uint8Array;

/** Operations that the addon takes with the arguments of the list, in its order. */
type ListedFunction = 'rmsNorm' | 'swiglu' | 'add' | 'gatherRows' | 'hcPre' | 'hcPost' | 'hcHead' | 'scatterExperts';

/**
 * Functions of the addon; native/bindings has the other side. `isa` and `threads` come first where work is done. Where the list has one
 * operation for several precisions, the addon has a function for each.
 */
export interface GemmAddon extends KernelAddon, Readonly<Record<ListedFunction, NativeFunction>> {
  createWeight(format: number, matrices: number, n: number, k: number): NativeWeight;
  /** Frees the memory now; the object cannot be used after that. */
  freeWeight(w: NativeWeight): void;
  weightBytes(format: number, matrices: number, n: number, k: number): number;
  putDense(w: NativeWeight, matrix: number, row0: number, rows: number, data: F32 | Uint16Array): void;
  putFp8(w: NativeWeight, matrix: number, row0: number, rows: number, codes: U8, scales: F32, threads: number): void;
  putNvfp4(w: NativeWeight, matrix: number, row0: number, rows: number, codes: U8, sf: U8, threads: number): void;

  embed(isa: number, threads: number, w: NativeWeight, ids: I32, rows: number, repeat: number, out: F32): void;
  linear(isa: number, threads: number, w: NativeWeight, x: F32, rows: number, out: F32): void;
  /** alpha: null but for nvfp4; so in groupedGemmBf16. */
  linearBf16(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    alpha: F32 | null,
    x: F32,
    rows: number,
    out: F32,
  ): void;
  linearNvfp4(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    alpha: F32,
    x: F32,
    rows: number,
    out: F32,
  ): void;
  /** inputScale 0: each row's own. Returns -1, or the index in x of a value that is not finite. */
  linearW4A4(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    alpha: F32,
    inputScale: number,
    x: F32,
    rows: number,
    out: F32,
  ): number;

  /** Returns -1, or the index in x of a value that is not finite; so does stageNvfp4Dynamic. */
  stageNvfp4(
    isa: number,
    threads: number,
    x: F32,
    k: number,
    slotToken: I32 | null,
    expertOffsets: I32,
    globalDecodeScale: F32,
    codes: U8,
    sf: U8,
  ): number;
  stageNvfp4Dynamic(
    isa: number,
    threads: number,
    x: F32,
    k: number,
    slotToken: I32 | null,
    rows: number,
    codes: U8,
    sf: U8,
    rowScale: F32,
  ): number;
  /** Returns -1, or the index in [R, i] of a result that is not finite; so does swigluStageNvfp4Dynamic. */
  swigluStageNvfp4(
    isa: number,
    threads: number,
    gateUp: F32,
    i: number,
    limit: number,
    expertOffsets: I32,
    globalDecodeScale: F32,
    codes: U8,
    sf: U8,
  ): number;
  swigluStageNvfp4Dynamic(
    isa: number,
    threads: number,
    gateUp: F32,
    i: number,
    limit: number,
    rows: number,
    codes: U8,
    sf: U8,
    rowScale: F32,
  ): number;

  /** Returns -1, or the index in sf of a byte that is no scale. */
  groupedGemmW4A4(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    codes: U8,
    sf: U8,
    expertOffsets: I32,
    alpha: F32,
    rowScale: F32 | null,
    out: F32,
  ): number;
  groupedGemm(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    a: F32,
    expertOffsets: I32,
    alpha: F32 | null,
    out: F32,
  ): void;
  groupedGemmBf16(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    a: F32,
    expertOffsets: I32,
    alpha: F32 | null,
    out: F32,
  ): void;

  nvfp4Loss(
    isa: number,
    threads: number,
    x: F32,
    rows: number,
    k: number,
    globalDecodeScale: number,
    codes: U8,
    sf: U8,
    sums: Float64Array,
  ): void;

  /** Scans of logits: see LogitsScan. */
  scanFirstNonFinite(isa: number, x: F32, begin: number, end: number): number;
  scanArgmax(isa: number, x: F32, n: number): number;
  scanTop(isa: number, x: F32, n: number, k: number, temperature: number, ids: I32, values: F32): number;
  scanAtLeast(isa: number, x: F32, n: number, floor: number, ids: I32, values: F32): number;
  scanMayWin(isa: number, x: F32, n: number, temperature: number, draw: I32, ids: I32, values: F32): number;
  scanMassBefore(isa: number, x: F32, n: number, temperature: number, id: number): number;
}
