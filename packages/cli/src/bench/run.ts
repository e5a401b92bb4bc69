import { createAttentionKernels, type AttentionKernels } from '@megamoe/attention';
import { createGemmKernels, type GemmKernels, type KernelIsa } from '@megamoe/gemm-native';
import { addonInfos, createBackend, type BackendName } from '@megamoe/model';
import { UsageError } from '../errors';
import { attentionCases } from './attention-cases';
import { Ceilings } from './ceilings';
import { ceilingCases, gemmCases, moeCases } from './gemm-cases';
import { linearCases } from './linear-cases';
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
  createBackend({ backend: o.backend, isa: o.isa }); // says what is missing
  const backend = native ? 'native' : 'js';
  const isa = native ? o.isa : 'auto';
  return {
    backend: native ? 'cpu' : 'js',
    isa,
    native,
    threads: native ? o.threads : [1],
    quick: o.quick,
    ceilings: new Ceilings(),
    step: o.step,
    signal: o.signal,
    gemm: perThreads((threads): GemmKernels => createGemmKernels({ backend, threads, isa })),
    attention: perThreads((threads): AttentionKernels => createAttentionKernels({ backend, threads, isa })),
  };
}

/** What runs, for the history: `node 20.1.0, native avx512`. */
export function runtimeOf({ backend, isa }: Pick<BenchOptions, 'backend' | 'isa'>): string {
  return `node ${process.versions.node}, ${createBackend({ backend, isa, threads: 1 }).description.replace(', 1 thread', '')}`;
}

/**
 * Measures everything that the options name, in order.
 * @throws UsageError when the filter matches nothing; BenchError when a kernel's answer is wrong
 */
export async function runBench(o: BenchOptions): Promise<BenchRow[]> {
  const context = contextOf(o);
  const wanted = ({ name, shape }: BenchCase): boolean =>
    o.filter === undefined || `${name} ${shape}`.includes(o.filter);
  const groups = groupsOf(o);
  if (!groups.some((group) => group(context).some(wanted))) {
    const names = [...new Set(groups.flatMap((group) => group(context).map((one) => one.name)))];
    throw new UsageError(`bench: --filter ${JSON.stringify(o.filter)} matches nothing; there are: ${names.join(', ')}`);
  }
  const rows: BenchRow[] = [];
  for (const group of groups) {
    const cases = group(context).filter(wanted);
    // Threads outside, so that a model is packed once for each number of them.
    for (const threads of context.threads) {
      for (const one of cases) {
        if (one.oneThread && threads !== context.threads[0]) continue;
        o.signal.throwIfAborted();
        await new Promise((resolve) => setImmediate(resolve)); // lets Ctrl-C in
        const used = one.oneThread ? 1 : threads;
        try {
          const row = rowOf(one, used, await one.run(used), o.quick);
          rows.push(row);
          o.onRow(row);
        } catch (e) {
          if (!(e instanceof SkipCase)) throw e;
          o.onSkip(`${one.name} (${one.shape}, threads ${used})`, e.message);
        }
      }
    }
  }
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
