import { checkFunction, checkPositive } from '@megamoe/core';
import type { ExpertsSource, ExpertsWeight } from '@megamoe/ops';
import type { CudaAddon } from './addon';
import type { Device, Memory } from './device';
import { cudaReport, type CudaReport, type GpuInfo } from './machine';
import { packExperts } from './pack';

/** Bytes that a pass reads; there are two such pieces, so that nothing of one is in the L2 cache when its turn comes again. */
const PASS_BYTES = 2 ** 30;

/** What benchmarks ask of a GPU: time by its own clock, its limits, and weights that are made where they lie. */
export interface CudaBench {
  /** The GPU, with the memory that is free now, and the CUDA that the driver knows. */
  readonly gpu: GpuInfo & Pick<CudaReport, 'driver'>;
  /**
   * Seconds that the GPU takes for what `work` launches, from the end of what came before to the end of it. Kernels wait until `work`
   * returns and then follow each other, so the host's time to launch them is not in it. `work` launches at most some hundred kernels,
   * each launched once before, and waits for none of them (a wait ends after 2 seconds).
   */
  seconds(work: () => void): number;
  /** Bytes a second that one pass over 1 GiB reads; the L2 cache then holds nothing else. Takes 2 GiB at the first call. */
  readRate(): number;
  /**
   * Operations a second of a pass of about so many on tensor cores: `mma.sync.m16n8k16`, f16 in and float32 out, operands in registers.
   */
  matrixRate(operations: number): number;
  /** As packExperts, but all experts have the weights of expert 0, each at a place of its own: they are copied on the GPU. */
  packSameExperts(source: ExpertsSource): ExpertsWeight;
}

/** {@link CudaBench} of a device. */
export function createBench(addon: CudaAddon, device: Device, index: number): CudaBench {
  let memory: Memory | undefined;
  let half = 0;
  return {
    get gpu() {
      const { gpus, driver } = cudaReport();
      return { ...gpus[index]!, driver };
    },
    seconds(work) {
      checkFunction('seconds', 'work', work);
      device.measure('seconds', (native) => addon.startClock(native));
      let seconds = 0;
      try {
        work();
      } finally {
        seconds = device.measure('seconds', (native) => addon.stopClock(native)); // also lets what was launched run
      }
      return seconds;
    },
    readRate() {
      memory ??= device.alloc('readRate', 2 * PASS_BYTES);
      half = 1 - half;
      const from = memory.address + half * PASS_BYTES;
      return device.measure('readRate', (native) => addon.readRate(native, from, PASS_BYTES));
    },
    matrixRate(operations) {
      checkPositive('matrixRate', 'operations', operations);
      return device.measure('matrixRate', (native) => addon.matrixRate(native, operations));
    },
    packSameExperts: (source) => packExperts(device, source, true),
  };
}
