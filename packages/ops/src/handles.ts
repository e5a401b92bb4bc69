import type { YarnParameters } from '@megamoe/core';
import type { InputPrecision } from './types';

/** How the experts of a layer are chosen. */
export interface RouteSpec {
  /** Largest number of rows of a call. */
  readonly maxTokens: number;
  /** E, `n_routed_experts`. */
  readonly numExperts: number;
  /** Experts per token, `num_experts_per_tok`. */
  readonly topk: number;
  /** `scoring_func`. */
  readonly scoring: 'sqrtsoftplus' | 'softmax' | 'sigmoid';
  /** `norm_topk_prob`. */
  readonly normTopkProb: boolean;
  /** `routed_scaling_factor`. */
  readonly routedScalingFactor: number;
}

/** A router, made once with its scratch. */
export interface RouterHandle {
  readonly numExperts: number;
  readonly topk: number;
}

/** What rotary frequencies are made from. */
export interface RopeSpec {
  /** Rotated elements of a head, even; they are the last ones. */
  readonly ropeDim: number;
  /** 10000 for sliding layers, `compress_rope_theta` for compressed ones. */
  readonly theta: number;
  /** Compressed layers only (docs/formats.md D2). */
  readonly yarn?: YarnParameters | undefined;
}

/** Rotary frequencies, as the backend keeps them. */
export interface RopeHandle {
  readonly ropeDim: number;
  /** Frees what the backend keeps for it; absent where that is nothing. */
  dispose?(): void;
}

/** A compressor's `ape` [ratio, width] and `norm` [dim], as the backend keeps them. */
export interface CompressorHandle {
  readonly kind: 'compressor';
  /** Frees what the backend keeps for it; absent where that is nothing. */
  dispose?(): void;
}

/** Largest shape of what is staged for grouped GEMMs. */
export interface StagedSpec {
  readonly slots: number;
  readonly k: number;
  /** Precisions that will be asked for; others are refused. */
  readonly inputs: readonly InputPrecision[];
}

/** Rows in slot order, ready to be multiplied: in which layout is the backend's own business. */
export interface Staged {
  readonly spec: StagedSpec;
  /** What was staged last: slots, elements of a row, precision. */
  readonly slots: number;
  readonly k: number;
  readonly inputs: InputPrecision;
  readonly bytes: number;
  dispose(): void;
}
