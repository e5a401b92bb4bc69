import { UnsupportedError, type LogitsScan } from '@megamoe/core';
import { createLogitsScan } from '@megamoe/gemm-native';
import type { Backend, W4a4Math } from '@megamoe/ops';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** What this machine has for the `cuda` backend. */
export interface CudaState {
  readonly available: boolean;
  /** One line for people: the GPU that would be taken, or why there is none. */
  readonly reason: string;
}

/** Which GPU, and how it computes. */
export interface CudaChoice {
  readonly device?: number | undefined;
  readonly gpuMath?: W4a4Math | undefined;
}

/** What is used of `@megamoe/cuda`: nobody depends on it, so it is found by its name, where it is installed. */
interface CudaPackage {
  createCudaBackend(options: CudaChoice & { readonly logitsScan?: LogitsScan | null }): Backend;
  cudaReport(): CudaState;
}

const NAME = '@megamoe/cuda';

/** The package, or why there is none. */
function load(): CudaPackage | string {
  const places = [import.meta.url, process.argv[1], join(process.cwd(), 'index.js')];
  let why = 'is not installed: npm install @megamoe/cuda';
  for (const place of places) {
    if (place === undefined || place === '') continue;
    try {
      return createRequire(place)(NAME) as CudaPackage;
    } catch (error) {
      const { code, message } = error as { code?: unknown; message?: unknown };
      if (code === 'ERR_REQUIRE_ESM') return 'needs Node 20.19, 22.12 or newer';
      if (code !== 'MODULE_NOT_FOUND') why = `does not load: ${String(message).split('\n', 1)[0]!}`;
    }
  }
  return why;
}

/** Whether there is a GPU to compute on, and which, or why not. Never throws. */
export function cudaReport(): CudaState {
  const found = load();
  return typeof found === 'string' ? { available: false, reason: `${NAME} ${found}` } : found.cudaReport();
}

/** The backend on a GPU. @throws UnsupportedError that says what is missing */
export function createCuda(choice: CudaChoice): Backend {
  const found = load();
  if (typeof found === 'string') throw new UnsupportedError(`createBackend: no "cuda" backend here: ${NAME} ${found}`);
  const { available, reason } = found.cudaReport();
  if (!available) throw new UnsupportedError(`createBackend: no "cuda" backend here: ${reason}`);
  const scan = createLogitsScan();
  const logitsScan = scan.isa === 'js' ? null : scan; // in JavaScript the sampler is quicker without
  return found.createCudaBackend({ logitsScan, ...choice });
}
