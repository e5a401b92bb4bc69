import type { KvCache, Step } from './backend';
import type { CompressorHandle, RopeHandle, RouterHandle, Staged } from './handles';
import type { HostArrayOf } from './tensor';
import type { ExpertsWeight, LinearWeight } from './weights';

/** What stands for the arguments of kernels on the host: typed arrays, and the same handles as for backends. */
export interface HostArrays extends HostArrayOf {
  readonly linear: LinearWeight;
  readonly experts: ExpertsWeight;
  readonly staged: Staged;
  readonly router: RouterHandle;
  readonly rope: RopeHandle;
  readonly compressor: CompressorHandle;
  readonly cache: KvCache;
  readonly step: Step;
}
