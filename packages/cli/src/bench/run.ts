import { createAttentionKernels, type AttentionKernels } from '@megamoe/attention';
import { createGemmKernels, type GemmKernels, type KernelIsa } from '@megamoe/gemm-native';
import { addonInfos, createBackend, type BackendName } from '@megamoe/model';
import { UsageError } from '../errors';
import { attentionCases } from './attention-cases';
import { Ceilings } from './ceilings';
import { ceilingCases, gemmCases, moeCases } from './gemm-cases';
import type { GpuContext } from './gpu/context';
import { kernelCases } from './gpu/kernel-cases';
import { gpuLogitsCases } from './gpu/logits-cases';
import { gpuCeilingCases, gpuStepCases, gpuTinyCases } from './gpu/model-cases';
import { torchCases, type Peer } from './gpu/peers';
import { linearCases } from './linear-cases';
import { secondsOf } from './measure';
import { memoryCases } from './memory-cases';
import { hyperConnectionCases, normCases, quantizeCases, samplingCases, swizzleCases } from './row-cases';
import { stepCases } from './step-cases';
import { tinyCases } from './tiny-cases';
import { SkipCase, type BenchCase, type BenchContext, type BenchRow, type StepShape } from './types';

/** What to measure, and how. */
export interface BenchOptions {
  readonly backend: BackendName;
  readonly isa: KernelIsa;
  readonly threads: readonly number[];
  /** Small shapes and few repetitions: shows that everything runs, not how fast. */
  readonly quick: boolean;
  /** Only rows whose name or shape contains it. */
  readonly filter?: string;
  /** Only the whole steps of this model. */
  readonly shape?: 'v4-flash' | 'tiny';
  readonly step: StepShape;
  /** What is measured instead of this machine's processors. */
  readonly gpu?: GpuContext;
  /** Another implementation beside it. */
  readonly peer?: Peer;
  readonly signal: AbortSignal;
  /** Called after each row. */
  readonly onRow: (row: BenchRow) => void;
  /** Called for what cannot be measured here. */
  readonly onSkip: (what: string, why: string) => void;
}

type Group = (c: BenchContext) => BenchCase[];

const KERNELS: readonly Group[] = [
  ceilingCases,
  gemmCases,
  moeCases,
  linearCases,
  quantizeCases,
  swizzleCases,
  samplingCases,
  attentionCases,
  hyperConnectionCases,
  normCases,
];

/** Groups of cases; one group's data is dropped before the next begins. */
function groupsOf({ shape, quick }: BenchOptions): readonly Group[] {
  if (shape === 'tiny') return [tinyCases];
  if (shape === 'v4-flash') return [stepCases, memoryCases];
  return quick ? [...KERNELS, tinyCases] : [...KERNELS, tinyCases, stepCases, memoryCases];
}

/** The same of a GPU. */
function gpuGroupsOf({ shape, peer }: BenchOptions): readonly ((c: GpuContext) => BenchCase[])[] {
  const peers = peer === undefined ? [] : [torchCases];
  if (shape === 'tiny') return [gpuTinyCases, ...peers];
  if (shape === 'v4-flash') return [...peers, gpuStepCases];
  return [gpuCeilingCases, kernelCases, gpuLogitsCases, gpuTinyCases, ...peers, gpuStepCases];
}

/** Kernel sets by thread count, made once. */
function perThreads<T>(make: (threads: number) => T): (threads: number) => T {
  const made = new Map<number, T>();
  return (threads) => {
    const known = made.get(threads) ?? make(threads);
    made.set(threads, known);
    return known;
  };
}

/** @throws UnsupportedError when the backend or instruction set is not there. */
function contextOf(o: BenchOptions): BenchContext {
  const native = o.backend === 'cpu' || (o.backend === 'auto' && addonInfos().every((info) => info.loaded));
  createBackend({ backend: o.backend, isa: o.isa, threads: 1 }); // says what is missing
  const backend = native ? 'native' : 'js';
  const isa = native ? o.isa : 'auto';
  return {
    backend: native ? 'cpu' : 'js',
    isa,
    native,
    threads: native ? o.threads : [1],
    quick: o.quick,
    ceilings: new Ceilings(),
    seconds: secondsOf,
    step: o.step,
    signal: o.signal,
    gemm: perThreads((threads): GemmKernels => createGemmKernels({ backend, threads, isa })),
    attention: perThreads((threads): AttentionKernels => createAttentionKernels({ backend, threads, isa })),
  };
}

/** What runs, for the history: `node 20.1.0, native avx512`. */
export function runtimeOf(
  { backend, isa }: Pick<BenchOptions, 'backend' | 'isa'>,
  { description } = createBackend({ backend, isa, threads: 1 }),
): string {
  return `node ${process.versions.node}, ${description.replace(', 1 thread', '')}`;
}

/**
 * Cases that give rows with the filter's text, by what is known of them: names and shapes, but of those that give several rows only a
 * part of a shape. Where it is in none of that, the rows of those may still have it.
 */
function wantedOf(groups: readonly (() => BenchCase[])[], filter: string | undefined): (one: BenchCase) => boolean {
  if (filter === undefined) return () => true;
  const has = ({ name, shape, rows = [] }: BenchCase): boolean =>
    [name, ...rows].some((word) => `${word} ${shape}`.includes(filter));
  const all = groups.flatMap((group) => group());
  if (all.some(has)) return has;
  const givesMany = ({ rows = [] }: BenchCase): boolean => rows.length > 1;
  if (all.some(givesMany)) return givesMany;
  throw noRows(all, filter);
}

function noRows(cases: readonly BenchCase[], filter: string): UsageError {
  const names = [...new Set(cases.flatMap(({ name, rows }) => rows ?? [name]))];
  return new UsageError(`bench: --filter ${JSON.stringify(filter)} matches nothing; there are: ${names.join(', ')}`);
}

/**
 * Measures everything that the options name, in order.
 * @throws UsageError when the filter matches nothing; BenchError when a kernel's answer is wrong
 */
export async function runBench(o: BenchOptions): Promise<BenchRow[]> {
  const { gpu, filter } = o;
  const context = gpu === undefined ? contextOf(o) : undefined;
  const groups = context ? groupsOf(o).map((g) => () => g(context)) : gpuGroupsOf(o).map((g) => () => g(gpu!));
  const wanted = wantedOf(groups, filter);
  const counts = context?.threads ?? [1];
  const rows: BenchRow[] = [];
  let skipped = false;
  for (const group of groups) {
    const cases = group().filter(wanted);
    // Threads outside, so that a model is packed once for each number of them.
    for (const threads of counts) {
      for (const one of cases) {
        if (one.oneThread && threads !== counts[0]) continue;
        o.signal.throwIfAborted();
        await new Promise((resolve) => setImmediate(resolve)); // lets Ctrl-C in
        const used = one.oneThread ? 1 : threads;
        try {
          const measured = await one.run(used);
          const several = 'median' in measured ? [{ name: one.name, shape: one.shape, ...measured }] : measured;
          for (const { name, shape, ...values } of several) {
            if (filter !== undefined && one.rows !== undefined && !`${name} ${shape}`.includes(filter)) continue;
            const row = rowOf({ ...one, name, shape }, used, values, o.quick);
            rows.push(row);
            o.onRow(row);
          }
        } catch (e) {
          if (!(e instanceof SkipCase)) throw e;
          skipped = true;
          o.onSkip(`${one.name} (${one.shape}${gpu === undefined ? `, threads ${used}` : ''})`, e.message);
        }
      }
    }
  }
  if (rows.length === 0 && filter !== undefined && gpu !== undefined && !skipped)
    throw noRows(
      groups.flatMap((group) => group()),
      filter,
    );
  return rows;
}

function rowOf(
  { name, shape, target, atMost }: BenchCase,
  threads: number,
  { median, unit, ceiling }: Pick<BenchRow, 'median' | 'unit' | 'ceiling'>,
  quick: boolean,
): BenchRow {
  // Promises are made for real shapes.
  const promised = quick ? undefined : typeof target === 'function' ? target(threads) : target;
  return {
    name,
    shape,
    threads,
    median,
    unit,
    ceiling,
    fraction: median / ceiling,
    ...(promised === undefined ? {} : { target: promised, ...(atMost ? { atMost } : {}) }),
  };
}
