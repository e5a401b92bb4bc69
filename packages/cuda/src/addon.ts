import type { AddonBase } from '@megamoe/native-kit';
import type { HostArray, OpName } from '@megamoe/ops';

/** A GPU that is open, held by the addon. */
export interface NativeDevice {
  readonly device: never;
}

/** What there is to compute on. */
export interface Machine {
  /** GPUs that can be used; 0 when `error` says why there are none. */
  readonly devices: number;
  /** Name of the error of CUDA, or empty. */
  readonly error: string;
  readonly message: string;
  /** The CUDA that the driver knows, as 13000; 0 without a driver. */
  readonly driverVersion: number;
  /** The CUDA that the addon was built with. */
  readonly runtimeVersion: number;
}

/** One GPU. */
export interface NativeDeviceInfo {
  readonly name: string;
  /** Compute capability. */
  readonly major: number;
  readonly minor: number;
  readonly multiprocessors: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly l2Bytes: number;
  /** Whether the addon has code for it. */
  readonly hasCode: boolean;
}

/** What a kernel found in data: operation, kind, index; null: nothing. */
export type NativeDataFailure = readonly [operation: number, kind: number, index: number] | null;

/** A function that launches kernels: the device, the operation's number, and numbers in order; addresses are numbers too. */
export type NativeOp = (device: NativeDevice, operation: number, ...args: number[]) => void;

/** Operations of the list; products are a function for inputs as they are and one for quantized ones. */
type NativeOps = Readonly<
  Record<Exclude<OpName, 'groupedGemm'> | 'groupedFloat' | 'groupedW4A4' | 'linearW4A4', NativeOp>
>;

/** Functions of the addon; native/bindings has the other side. */
export interface CudaAddon extends AddonBase, NativeOps {
  machine(): Machine;
  deviceInfo(index: number): NativeDeviceInfo;
  openDevice(index: number): NativeDevice;
  /** Frees all that was allocated there. Twice is fine. */
  closeDevice(device: NativeDevice): void;
  /** Address of memory of zeros. */
  alloc(device: NativeDevice, bytes: number): number;
  free(device: NativeDevice, address: number): void;
  /** From pinned memory the copy goes on after this has returned. */
  upload(device: NativeDevice, to: number, data: HostArray, from: number, bytes: number): void;
  /** Pins the memory of an array, which must be kept until unpin; false where the system refuses. */
  pin(device: NativeDevice, data: Uint8Array): boolean;
  unpin(device: NativeDevice, data: Uint8Array): void;
  /** Remembers what has been launched up to here, by a number below 64; waitFor waits for it. */
  mark(device: NativeDevice, turn: number): void;
  waitFor(device: NativeDevice, turn: number): void;
  /** Reads parts of an open file at once; answers how many bytes are there. Absent on Windows. */
  readFile?(device: NativeDevice, file: number, data: Uint8Array, at: number, bytes: number, position: number): number;
  /** Rows `[row0, row0 + rows)` of NVFP4 weights, linear, into packed ones (native/kernels/packed.h). */
  putPacked(
    device: NativeDevice,
    to: number,
    k: number,
    row0: number,
    rows: number,
    codes: HostArray,
    sf: HostArray,
  ): void;
  download(device: NativeDevice, from: number, data: HostArray, at: number, bytes: number): NativeDataFailure;
  copy(device: NativeDevice, to: number, from: number, bytes: number): void;
  synchronize(device: NativeDevice): NativeDataFailure;
  beginStep(device: NativeDevice): void;
  /** What is launched until {@link stopClock} waits on the GPU until then. */
  startClock(device: NativeDevice): void;
  /** Seconds of the GPU since. */
  stopClock(device: NativeDevice): number;
  /** Bytes a second that a pass over memory reads. */
  readRate(device: NativeDevice, address: number, bytes: number): number;
  /** Operations a second of tensor cores, in a pass of about as many. */
  matrixRate(device: NativeDevice, operations: number): number;
  memory(device: NativeDevice): { readonly bytes: number; readonly allocations: number };
  /** For tests: the device fails as hardware does. */
  lose(device: NativeDevice): void;
}
