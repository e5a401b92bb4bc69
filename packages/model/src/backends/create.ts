import { attentionAddonInfo, createAttentionKernels } from '@megamoe/attention';
import { checkInteger, checkObject, checkOneOf, ValueError } from '@megamoe/core';
import { createGemmKernels, createLogitsScan, gemmAddonInfo } from '@megamoe/gemm-native';
import { explainIsa, KERNEL_ISAS, MAX_THREADS, type AddonInfo, type KernelIsa } from '@megamoe/native-kit';
import type { Backend, W4a4Math } from '@megamoe/ops';
import { checkOptionNames } from '../options';
import { createCuda, cudaReport } from './cuda';
import { createHostBackend } from './host';

/**
 * What may be asked for: `auto` takes a GPU when `@megamoe/cuda` is installed and finds one and nothing is said that only a CPU has, else the
 * addons when they load, else JavaScript.
 */
export type BackendName = 'auto' | 'js' | 'cpu' | 'cuda';

/** Which backend, with how many threads. */
export interface BackendOptions {
  readonly backend?: BackendName | undefined;
  /** Default: the machine's processors. */
  readonly threads?: number | undefined;
  /** Instruction set of the native kernels; default: the best that this machine has. */
  readonly isa?: KernelIsa | undefined;
  /** Index of the GPU for `cuda`, as `nvidia-smi` counts them. Default: the first that can be used. */
  readonly device?: number | undefined;
  /**
   * How the GPU sums products of quantized rows: `exact` (default), the bits of the CPU; `fast`, inside the tensor core, within the bound that
   * `verify` states. For `cuda` only.
   */
  readonly gpuMath?: W4a4Math | undefined;
}

/** Instruction sets that may be asked for; `doctor` says which of them are there. */
export const ISAS: readonly KernelIsa[] = KERNEL_ISAS;

/** An addon as found on this machine. */
export interface AddonReport extends AddonInfo {
  /** The instruction set that runs, and what each better one would need; undefined where the addon did not load. */
  readonly isaReason: string | undefined;
}

/** The addons of the `cpu` backend. */
export function addonInfos(): AddonReport[] {
  return [gemmAddonInfo(), attentionAddonInfo()].map((info) => ({ ...info, isaReason: explainIsa(info) }));
}

/**
 * The operations of a backend.
 * @throws UnsupportedError when the asked backend is not there; the message says what was looked for.
 */
export function createBackend(o: BackendOptions = {}): Backend {
  checkObject('createBackend', 'options', o);
  checkOptionNames('createBackend', o, ['backend', 'threads', 'isa', 'device', 'gpuMath']);
  return chooseBackend(o, true);
}

/** {@link createBackend}; `auto` takes a GPU only where it may: a model that need not fit wants experts that come and go. */
export function chooseBackend(o: BackendOptions, mayTakeGpu: boolean): Backend {
  checkObject('createBackend', 'options', o);
  const { backend = 'auto', threads, isa = 'auto', device, gpuMath } = o;
  checkOneOf('createBackend', 'backend', backend, ['auto', 'js', 'cpu', 'cuda']);
  checkOneOf('createBackend', 'isa', isa, ISAS);
  if (threads !== undefined) checkInteger('createBackend', 'threads', threads, 1, MAX_THREADS);
  if (device !== undefined) checkInteger('createBackend', 'device', device, 0, 2 ** 20);
  if (gpuMath !== undefined) checkOneOf('createBackend', 'gpuMath', gpuMath, ['exact', 'fast']);
  const ofGpu = Object.entries({ device, gpuMath }).find(([, value]) => value !== undefined);
  if (ofGpu !== undefined && backend !== 'cuda' && backend !== 'auto')
    throw new ValueError(`createBackend: "${ofGpu[0]}" is for backend cuda, got ${ofGpu[1]!} with backend ${backend}`);
  const ofCpu = threads !== undefined ? 'threads' : isa !== 'auto' ? 'isa' : undefined;
  if (ofCpu !== undefined && (backend === 'cuda' || ofGpu !== undefined))
    throw new ValueError(
      `createBackend: "${ofCpu}" is for backend cpu, got it with ${ofGpu === undefined ? 'backend cuda' : `"${ofGpu[0]}", which is for cuda`}`,
    );
  if (backend === 'cuda' || ofGpu !== undefined) return createCuda({ device, gpuMath });
  if (backend === 'auto' && mayTakeGpu && ofCpu === undefined && cudaReport().available) return createCuda({});
  const missing = addonInfos().filter((info) => !info.loaded);
  if (backend === 'js' || (backend === 'auto' && missing.length > 0)) {
    const why = backend === 'js' ? 'asked for' : `native addons: ${missing[0]!.reason.split(':')[0]!}`; // `doctor` has the whole reason
    return createHostBackend(
      'js',
      `js (${why})`,
      createGemmKernels({ backend: 'js' }),
      createAttentionKernels({ backend: 'js' }),
      null,
    );
  }
  const options = { backend: 'native', isa, ...(threads !== undefined && { threads }) } as const;
  const gemm = createGemmKernels(options);
  const attention = createAttentionKernels(options);
  const count = gemm.threads === 1 ? '1 thread' : `${gemm.threads} threads`;
  return createHostBackend('cpu', `cpu (${gemm.isa}, ${count})`, gemm, attention, createLogitsScan(options));
}
