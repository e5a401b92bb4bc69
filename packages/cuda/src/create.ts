import {
  checkInteger,
  checkKind,
  checkObject,
  checkOneOf,
  describe,
  KindError,
  newArray,
  plainView,
  type LogitsScan,
} from '@megamoe/core';
import { bytesOf, checkMatrices } from '@megamoe/ops';
import type { Backend, Dtype, HostArray, RopeHandle, Tensor, W4a4Math } from '@megamoe/ops';
import { createBench, type CudaBench } from './bench';
import { DeviceCache, KV_DTYPES } from './cache';
import { Device } from './device';
import { DeviceCompressor, DeviceRope, DeviceRouter } from './handles';
import { chooseGpu } from './machine';
import { createOperations } from './operations';
import { noPool, packExperts, packLinear } from './pack';
import { PinnedReads } from './read-memory';
import { DeviceStaged } from './staged';
import { DeviceStep } from './step';
import { DeviceTensor } from './tensor';
import { weightBytes } from './weights';

/** Which GPU, and what the host does beside it. */
export interface CudaOptions {
  /** Index of the GPU, as `nvidia-smi` counts them. Default: the first that can be used. */
  readonly device?: number | undefined;
  /**
   * How products of quantized rows are summed: `exact` (default), with the bits of the CPU; `fast`, inside the tensor core, within a bound (README,
   * "Numeric rules").
   */
  readonly gpuMath?: W4a4Math | undefined;
  /** Passes over logits for the sampler, which runs on the host; default none. */
  readonly logitsScan?: LogitsScan | null | undefined;
}

/** A backend on a GPU: what all backends have, and what only a device has. */
export interface CudaBackend extends Backend {
  readonly name: 'cuda';
  /** Index of the GPU. */
  readonly device: number;
  /** Memory of the GPU that this backend holds, in bytes and pieces; scratch is not counted. */
  readonly memory: { readonly bytes: number; readonly allocations: number };
  /** For benchmarks: time and limits of the GPU. */
  readonly bench: CudaBench;
  /**
   * Waits for all work.
   * @throws ValueError for data that an operation could not use; DeviceError
   */
  synchronize(): void;
  /** For tests of what follows: makes the GPU fail as hardware does. All work on it is lost, of every backend of this process. */
  simulateLoss(): void;
}

/** Arrays of each element type. */
const ARRAYS = { f32: Float32Array, i32: Int32Array, u8: Uint8Array, bf16: Uint16Array, e4m3: Uint8Array } as const;

/** Element types by the class of an array, of any realm. */
const DTYPES: Readonly<Record<string, Dtype>> = {
  Float32Array: 'f32',
  Int32Array: 'i32',
  Uint16Array: 'bf16',
  Uint8Array: 'u8',
};

/**
 * The operations of `@megamoe/ops` on an NVIDIA GPU. Operations are launched and not waited for: errors in data surface when results are read
 * (`download`, `synchronize`). Products of quantized rows and staging have the bits of the CPU.
 * @throws UnsupportedError that says what is missing: the addon, a driver, a GPU, one that is new enough, the index that was asked for
 * @throws DeviceError when the GPU refuses
 */
export function createCudaBackend(options: CudaOptions = {}): CudaBackend {
  const fn = 'createCudaBackend';
  checkObject(fn, 'options', options);
  const { device: index, logitsScan = null, gpuMath = 'exact' } = options;
  if (index !== undefined) checkInteger(fn, 'device', index, 0, 2 ** 20);
  checkOneOf(fn, 'gpuMath', gpuMath, ['exact', 'fast'] as const);
  const { addon, gpu } = chooseGpu(fn, index);
  const device = new Device(addon, gpu.index);
  const known = <T>(of: string, arg: string, by: string, state: (v: unknown) => string, v: unknown): T => {
    const is = state(v);
    if (is === 'good') return v as T;
    if (is === 'disposed') throw new KindError(`${of}: "${arg}" has been disposed`);
    throw new KindError(`${of}: "${arg}" must be what ${by} of the cuda backend made, got ${describe(v)}`);
  };
  return {
    ...createOperations(addon, device, gpuMath),
    name: 'cuda',
    device: gpu.index,
    description: `cuda (GPU ${gpu.index}, ${gpu.name}, ${(gpu.totalBytes / 2 ** 30).toFixed(0)} GiB${gpuMath === 'fast' ? ', fast math' : ''})`,
    threads: 1,
    w4a4Math: gpuMath,
    logitsScan,
    get memory() {
      return device.memory;
    },
    bench: createBench(addon, device, gpu.index),
    synchronize: () => device.synchronize('synchronize'),
    simulateLoss: () => device.lose(),

    alloc: (dtype, shape) => DeviceTensor.zeros('alloc', device, dtype, shape),
    tensor(data, shape) {
      const dtype = DTYPES[describe(data)];
      if (dtype === undefined)
        throw new KindError(
          `tensor: "data" must be a Float32Array, Int32Array, Uint16Array or Uint8Array, got ${describe(data)}`,
        );
      checkKind<HostArray>('tensor', 'data', data, ARRAYS[dtype]);
      const own = plainView<HostArray>(data, ARRAYS[dtype]);
      const made = DeviceTensor.zeros('tensor', device, dtype, shape ?? [own.length]);
      if (made.length !== own.length) {
        made.dispose();
        throw new KindError(
          `tensor: "data" must have length ${made.shape.join('*')} = ${made.length}, got ${own.length}`,
        );
      }
      device.upload('tensor', DeviceTensor.addressOf('tensor', 'data', made, device), own, 0, own.byteLength);
      return made;
    },
    upload(out, at, data, from, n) {
      const { address, dtype } = part('upload', out, at, n);
      checkInteger('upload', 'from', from, 0, data.length - n);
      const copy = newArray<HostArray>('upload', 'data', ARRAYS[dtype], 'n', n);
      for (let i = 0; i < n; i++) copy[i] = data[from + i]!;
      device.upload('upload', address, copy, 0, copy.byteLength);
    },
    download(x, from, n, out, at) {
      const { address, dtype } = part('download', x, from, n);
      checkKind<HostArray>('download', 'out', out, ARRAYS[dtype]);
      checkInteger('download', 'at', at, 0, out.length - n);
      const bytes = bytesOf(dtype);
      device.download('download', address, plainView<HostArray>(out, ARRAYS[dtype]), at * bytes, n * bytes);
    },

    deviceMemory: () => device.deviceMemory('deviceMemory'),
    createReadMemory: () => new PinnedReads(device),
    packLinear: (source) => packLinear(device, source),
    packExperts: (source) => packExperts(device, source),
    createExpertPool() {
      throw noPool('createExpertPool');
    },
    packedBytes(format, matrices, n, k) {
      checkMatrices('packedBytes', format, matrices, n, k);
      const [data, scales] = weightBytes(format, matrices, n, k);
      return data + scales;
    },
    packCompressor: (ape, norm) => new DeviceCompressor(device, ape, norm),
    createRope: (spec) => new DeviceRope(device, spec),
    createRouter: (spec) => new DeviceRouter(spec),
    createStaged: (spec) => new DeviceStaged(device, spec),
    readStaged(staged) {
      return known<DeviceStaged>('readStaged', 'staged', 'createStaged', (v) => DeviceStaged.stateOf(v), staged).read(
        device,
      );
    },
    kvDtypes: KV_DTYPES,
    createCache: (layers) => new DeviceCache(device, layers),
    createStep: (maxRows) => new DeviceStep(device, maxRows),
    planStep(step, rows, cache, rope: RopeHandle) {
      const own = known<DeviceStep>('planStep', 'step', 'createStep', (v) => DeviceStep.stateOf(v), step);
      const memory = known<DeviceCache>('planStep', 'cache', 'createCache', (v) => DeviceCache.stateOf(v), cache);
      own.plan(
        'planStep',
        rows,
        memory,
        known<DeviceRope>('planStep', 'rope', 'createRope', (v) => DeviceRope.stateOf(v), rope),
      );
    },
    dispose: () => device.close(),
  };

  /** Elements `[from, from + n)` of a tensor. */
  function part(of: string, x: Tensor, from: number, n: number): { readonly address: number; readonly dtype: Dtype } {
    const address = DeviceTensor.addressOf(of, 'tensor', x, device);
    checkInteger(of, 'n', n, 0);
    checkInteger(of, 'from', from, 0, x.length - n);
    return { address: address + from * bytesOf(x.dtype), dtype: x.dtype };
  }
}
