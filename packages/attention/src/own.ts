import type { FamilyOp, HostArrays, OpArgs, Operations } from '@megamoe/ops';
import type { HostCache } from './cache';
import type { Compressor } from './compressor';
import type { Rope } from './rope';
import type { HostStep } from './step';

/** Arguments once their handles are known to be of this package. */
export interface OwnArrays extends HostArrays {
  readonly rope: Rope;
  readonly compressor: Compressor;
  readonly cache: HostCache;
  readonly step: HostStep;
}

/** Names of the operations of this package. */
export type AttentionOp = FamilyOp<'attention'>;

/** Arguments of an operation, checked. */
export type Own<N extends AttentionOp> = OpArgs<N, OwnArrays>;

/** What a backend implements: arguments have been checked, and a step has rows. */
export type OwnOperations = Operations<OwnArrays, AttentionOp>;
