import { createBackend } from '@megamoe/model';
import type { Backend, ExpertsSource, ExpertsWeight } from '@megamoe/ops';
import type { LimitKind } from '../ceilings';
import { lazy } from '../data';
import { secondsOf } from '../measure';
import type { Measuring, StepShape } from '../types';
import { Loaded } from './loaded';

/** What a backend on a GPU says and does for a benchmark: `CudaBench` of `@megamoe/cuda`, on which this package does not depend. */
export interface GpuBench {
  readonly gpu: {
    readonly name: string;
    readonly driver: string | undefined;
    readonly freeBytes: number;
    readonly totalBytes: number;
  };
  seconds(work: () => void): number;
  readRate(): number;
  matrixRate(operations: number): number;
  packSameExperts(source: ExpertsSource): ExpertsWeight;
}

/** A backend that can be measured. */
export type GpuBackend = Backend & { readonly device: number; readonly bench: GpuBench };

/** The model of whole steps; layers left out: as many as fit. */
export type GpuStepShape = Omit<StepShape, 'layers'> & { readonly layers?: number | undefined };

/** What all cases on a GPU share. */
export interface GpuContext extends Measuring {
  /** Everything runs on it; models are freed one by one. */
  readonly backend: Backend;
  readonly step: GpuStepShape;
  readonly loaded: Loaded;
  /** Memory that is free for weights and buffers, in bytes. */
  freeBytes(): number;
  /** Experts of one layer, all alike, at different places in memory. */
  packSameExperts(source: ExpertsSource): ExpertsWeight;
  /** Index of the GPU for programs beside this one. */
  readonly device: number;
  /** Says what is about to be done. */
  say(text: string): void;
}

/** The GPU. @throws UnsupportedError that says what is missing */
export function openGpu(device: number | undefined): GpuBackend {
  return createBackend({ backend: 'cuda', device }) as GpuBackend;
}

/** Elements of a copy to the host. */
const COPY = 2 ** 24;

/** Bytes a second that a large copy to the host moves. */
function copyRate(backend: Backend): () => number {
  const to = lazy(() => new Float32Array(COPY));
  const from = lazy(() => backend.alloc('f32', [COPY]));
  return () => (4 * COPY) / secondsOf(() => backend.download(from(), 0, COPY, to(), 0));
}

/** What cases need of it. */
export function gpuContext(
  backend: GpuBackend,
  o: Pick<GpuContext, 'quick' | 'step' | 'signal' | 'device' | 'say'>,
): GpuContext {
  const { bench } = backend;
  const rates: Partial<Record<LimitKind, (amount: number) => number>> = {
    read: () => bench.readRate(),
    mma: (amount) => bench.matrixRate(amount),
    copy: copyRate(backend),
  };
  return {
    ...o,
    backend,
    loaded: new Loaded(),
    ceilings: { rate: (kind, _, { amount }) => rates[kind]!(amount) },
    seconds: (work) => bench.seconds(work),
    freeBytes: () => bench.gpu.freeBytes,
    packSameExperts: (source) => bench.packSameExperts(source),
  };
}
