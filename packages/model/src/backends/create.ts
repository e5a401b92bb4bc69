import { attentionAddonInfo, createAttentionKernels } from '@megamoe/attention';
import { checkInteger, checkObject, checkOneOf, UnsupportedError } from '@megamoe/core';
import { createGemmKernels, createLogitsScan, gemmAddonInfo } from '@megamoe/gemm-native';
import { explainIsa, KERNEL_ISAS, MAX_THREADS, type AddonInfo, type KernelIsa } from '@megamoe/native-kit';
import type { Backend } from '@megamoe/ops';
import { createHostBackend } from './host';

/** What may be asked for: `auto` takes the addons when they load, else JavaScript. */
export type BackendName = 'auto' | 'js' | 'cpu' | 'cuda';

/** Which backend, with how many threads. */
export interface BackendOptions {
  readonly backend?: BackendName | undefined;
  /** Default: the machine's processors. */
  readonly threads?: number | undefined;
  /** Instruction set of the native kernels; default: the best that this machine has. */
  readonly isa?: KernelIsa | undefined;
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
  const { backend = 'auto', threads, isa = 'auto' } = o;
  checkOneOf('createBackend', 'backend', backend, ['auto', 'js', 'cpu', 'cuda']);
  checkOneOf('createBackend', 'isa', isa, ISAS);
  if (threads !== undefined) checkInteger('createBackend', 'threads', threads, 1, MAX_THREADS);
  if (backend === 'cuda')
    throw new UnsupportedError('createBackend: no "cuda" backend in this build; there are: js, cpu, auto');
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
