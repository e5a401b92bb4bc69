/** Number format of packed weights. */
export type WeightFormat = 'nvfp4' | 'fp8' | 'bf16' | 'f32';

/** Rows in NVFP4: codes u8 [rows, K/2] (even element in the low nibble), sf E4M3 [rows, K/16], linear. */
export interface Nvfp4Rows {
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
}

/** Rows in FP8: codes E4M3 [rows, K], none NaN; scales [rows, ceil(K/128)], each row with those of its own tile, finite and at least 0. */
export interface Fp8Rows {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
}

/** Rows in bf16 (Uint16Array of bit patterns) or f32: [rows, K]. */
export interface DenseRows {
  readonly data: Float32Array | Uint16Array;
}

/** Rows of a weight of any format. */
export type WeightRows = DenseRows | Fp8Rows | Nvfp4Rows;

/** Shape of a dense weight as it is read: row-major [groups*N, K]. */
interface LinearSourceShape {
  /** What it is, for messages, traces and judges, as in `layers.0.attn.wq_a`. */
  readonly name?: string;
  readonly n: number;
  readonly k: number;
  /** Blocks of a block-diagonal weight; default 1. Group g maps its K inputs to its N outputs. */
  readonly groups?: number;
}

/** A dense weight in float32 or BF16. */
export interface DenseLinearSource extends LinearSourceShape {
  readonly dtype: 'f32' | 'bf16';
  /**
   * Float32Array for f32, Uint16Array (bit patterns) for bf16; not referred to after packing. A function gives rows `[row0, row0 + rows)`
   * of the groups*N instead: it is asked for a few megabytes at a time, so that a large weight never stands twice.
   */
  readonly data: Float32Array | Uint16Array | ((row0: number, rows: number) => Float32Array | Uint16Array);
}

/** A dense weight in FP8: `w = e4m3(code) * scale`. */
export interface Fp8LinearSource extends LinearSourceShape {
  readonly dtype: 'fp8';
  /** All rows, or a function that gives some of them. */
  readonly data: Fp8Rows | ((row0: number, rows: number) => Fp8Rows);
}

/** A dense weight in NVFP4: `w = e2m1(code) * e4m3(sf) * weightGlobalDecodeScale`. */
export interface Nvfp4LinearSource extends LinearSourceShape {
  readonly dtype: 'nvfp4';
  /** 2: the n rows of a group are those of two modules, n/2 each, with a global scale each; default 1. */
  readonly parts?: 1 | 2;
  /** [parts], finite and above 0. */
  readonly weightGlobalDecodeScale: Float32Array;
  /** For inputs in NVFP4: the scale that they are quantized with, or `row` for each row's own. Without it they are never quantized. */
  readonly inputGlobalDecodeScale?: number | 'row';
  /** All rows, or a function that gives some of them. */
  readonly data: Nvfp4Rows | ((row0: number, rows: number) => Nvfp4Rows);
}

/** A dense weight as it is read. */
export type LinearSource = DenseLinearSource | Fp8LinearSource | Nvfp4LinearSource;

/** A dense weight, packed once for one backend; opaque but for its shape. */
export interface LinearWeight {
  /** Of its source; empty without one. */
  readonly name: string;
  readonly n: number;
  readonly k: number;
  readonly groups: number;
  readonly dtype: WeightFormat;
  /** How inputs in NVFP4 are quantized; null: they are not. */
  readonly inputGlobalDecodeScale: number | 'row' | null;
  /** Bytes that it occupies. */
  readonly bytes: number;
  /** Frees its memory now instead of when it is collected; using it after that is a KindError. */
  dispose(): void;
}

/** Expert weights as they are read, one (expert, part) at a time. */
export interface ExpertsSource {
  /** What they are, as in `layers.0.ffn.experts.w13`. */
  readonly name?: string;
  readonly numExperts: number;
  /** Output features per expert, all parts together. */
  readonly n: number;
  readonly k: number;
  /** 2: the n rows are gate rows (w1) and then up rows (w3), n/2 each, with an alpha each; default 1. */
  readonly parts?: 1 | 2;
  readonly format: WeightFormat;
  /**
   * Rows [n/parts, K] of one part of one expert. Called once for each, in order, and not kept; with a `pool` it is called when an expert
   * has rows and is not in the pool, as often as that happens, and what it throws comes out of the product that needed it.
   */
  read(expert: number, part: number): WeightRows;
  /** Packs nothing now; experts are packed into this pool when they are needed. */
  readonly pool?: ExpertPool;
}

/** Weights of all experts of one projection, packed once for one backend; opaque but for their shape. */
export interface ExpertsWeight {
  /** Of their source; empty without one. */
  readonly name: string;
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: WeightFormat;
  /** Bytes that they occupy; 0 with a pool, whose bytes they are. */
  readonly bytes: number;
  /** Frees their memory (or their slots of the pool) now; using them after that is a KindError. */
  dispose(): void;
}

/** Shape of a pool: of its experts, and how many of them it holds at most. */
export interface ExpertPoolShape {
  readonly n: number;
  readonly k: number;
  readonly parts?: 1 | 2;
  readonly format: WeightFormat;
  readonly slots: number;
}

/**
 * Room for a bounded number of packed experts, shared by any number of {@link ExpertsWeight}s of one shape. When it is full, the expert
 * that was used longest ago goes out; its memory is written over, never given back and taken again.
 */
export interface ExpertPool {
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: WeightFormat;
  /** Most experts that it holds. */
  readonly slots: number;
  /** Bytes of one of them. */
  readonly slotBytes: number;
  /** Bytes that it occupies now: slots are made when they are first needed. */
  readonly bytes: number;
  /** Experts that were needed and there, and those that had to be read. */
  readonly hits: number;
  readonly misses: number;
  /** Frees its memory now. Weights that use it cannot be used after that. */
  dispose(): void;
}
