import { UnsupportedError } from '@megamoe/core';
import type { CudaAddon, Machine, NativeDeviceInfo } from './addon';
import { loadCudaAddon } from './binding';
import { deviceError } from './errors';

/** One GPU, and whether it can be used. */
export interface GpuInfo {
  /** What `device` of createCudaBackend takes. */
  readonly index: number;
  readonly name: string;
  /** As in `9.0`. */
  readonly computeCapability: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** Why it cannot be used; undefined when it can. */
  readonly unusable: string | undefined;
}

/** What this machine has for the `cuda` backend. */
export interface CudaReport {
  /** Whether createCudaBackend would find a GPU that it can use. */
  readonly available: boolean;
  /** One line for people: the GPU that would be taken, or why there is none and what to do. */
  readonly reason: string;
  /** As in `13.0`; undefined without a driver. */
  readonly driver: string | undefined;
  readonly gpus: readonly GpuInfo[];
}

/** `13000` as `13.0`. */
const versionText = (v: number): string => `${Math.floor(v / 1000)}.${Math.floor((v % 1000) / 10)}`;

const GIB = 2 ** 30;

/** The oldest compute capability that the kernels are written for. */
const OLDEST_MAJOR = 8;

/** Why no GPU of a machine can be used at all; undefined when there are some. */
function noGpu({ devices, error, message, driverVersion, runtimeVersion }: Machine): string | undefined {
  if (devices > 0) return undefined;
  if (driverVersion === 0)
    return 'no NVIDIA driver is installed (or it cannot be seen from here): install one, or give a container access to the GPU';
  if (error === 'cudaErrorInsufficientDriver' || driverVersion < Math.floor(runtimeVersion / 1000) * 1000)
    return `the NVIDIA driver is too old: it knows CUDA ${versionText(driverVersion)}, this addon needs ${versionText(Math.floor(runtimeVersion / 1000) * 1000)}; update the driver`;
  if (error === '' || error === 'cudaErrorNoDevice')
    return 'no NVIDIA GPU is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES';
  return `the NVIDIA driver refuses: ${message} (${error})`;
}

/** Why a GPU cannot be used; undefined when it can. */
function unusable({ name, major, minor, hasCode }: NativeDeviceInfo, built: string): string | undefined {
  const is = `${name} has compute capability ${major}.${minor}`;
  if (major < OLDEST_MAJOR) return `${is}; the kernels need ${OLDEST_MAJOR}.0 or newer`;
  if (!hasCode) return `${is}; this addon has code for ${built} only: build it for that GPU (see README, "Build")`;
  return undefined;
}

function gpuInfo(addon: CudaAddon, index: number): GpuInfo {
  try {
    const info = addon.deviceInfo(index);
    const { name, major, minor, totalBytes, freeBytes } = info;
    return {
      ...{ index, name, computeCapability: `${major}.${minor}`, totalBytes, freeBytes },
      unusable: unusable(info, addon.isa),
    };
  } catch (error) {
    const failure = deviceError(error, `GPU ${index}`);
    const why = failure instanceof Error ? failure.message : String(failure);
    return { index, name: 'unknown', computeCapability: 'unknown', totalBytes: 0, freeBytes: 0, unusable: why };
  }
}

/** GPUs, driver, and which one would be taken, or why none. Never throws. */
export function cudaReport(): CudaReport {
  const { addon, info } = loadCudaAddon();
  if (addon === undefined)
    return { available: false, reason: `addon cuda ${info.reason}`, driver: undefined, gpus: [] };
  const machine = addon.machine();
  const driver = machine.driverVersion === 0 ? undefined : versionText(machine.driverVersion);
  const gpus = Array.from({ length: machine.devices }, (_, i) => gpuInfo(addon, i));
  const chosen = gpus.find((gpu) => gpu.unusable === undefined);
  const reason =
    chosen === undefined
      ? (noGpu(machine) ?? gpus[0]?.unusable ?? 'no NVIDIA GPU is visible')
      : `GPU ${chosen.index}: ${chosen.name}, compute capability ${chosen.computeCapability}, ` +
        `${(chosen.freeBytes / GIB).toFixed(1)} of ${(chosen.totalBytes / GIB).toFixed(1)} GiB free, driver for CUDA ${driver ?? 'unknown'}`;
  return { available: chosen !== undefined, reason, driver, gpus };
}

/**
 * The addon and the GPU that a backend is to use: the one asked for, or the first that can be used.
 * @throws UnsupportedError that says what is missing
 */
export function chooseGpu(
  fn: string,
  device: number | undefined,
): { readonly addon: CudaAddon; readonly gpu: GpuInfo } {
  const { addon } = loadCudaAddon();
  const report = cudaReport();
  if (addon === undefined || report.gpus.length === 0)
    throw new UnsupportedError(`${fn}: no GPU to compute on: ${report.reason}`);
  if (device !== undefined && device >= report.gpus.length) {
    const there = report.gpus.map(({ index, name }) => `${index} (${name})`).join(', ');
    throw new UnsupportedError(`${fn}: "device" ${device} is not there; there are: ${there}`);
  }
  const gpu = device === undefined ? report.gpus.find((g) => g.unusable === undefined) : report.gpus[device];
  if (gpu === undefined || gpu.unusable !== undefined)
    throw new UnsupportedError(`${fn}: no GPU to compute on: ${gpu?.unusable ?? report.reason}`);
  return { addon, gpu };
}
