/** What this package does where there may be no addon, no driver and no GPU. */
import { describe, expect, it, vi } from 'vitest';
import type { CudaAddon, Machine, NativeDeviceInfo } from '../src/addon';
import type * as binding from '../src/binding';
import { loadCudaAddon } from '../src/binding';
import { createCudaBackend, cudaAddonInfo, cudaReport } from '../src/index';

vi.mock('../src/binding', async (actual) => {
  const own = await actual<typeof binding>();
  return { ...own, loadCudaAddon: vi.fn(own.loadCudaAddon) };
});

const H200: NativeDeviceInfo = {
  ...{ name: 'NVIDIA H200', major: 9, minor: 0, multiprocessors: 132 },
  ...{ totalBytes: 140 * 2 ** 30, freeBytes: 139 * 2 ** 30, l2Bytes: 60e6, hasCode: true },
};

/** The report of a machine that is made up. */
function reportOf(machine: Partial<Machine>, gpus: readonly (NativeDeviceInfo | Error)[] = []) {
  const all = { devices: gpus.length, error: '', message: '', driverVersion: 13000, runtimeVersion: 13000, ...machine };
  const deviceInfo = (i: number): NativeDeviceInfo => {
    const gpu = gpus[i]!;
    if (gpu instanceof Error) throw gpu;
    return gpu;
  };
  const addon = { isa: 'sm_90a', machine: () => all, deviceInfo } as unknown as CudaAddon;
  vi.mocked(loadCudaAddon).mockReturnValue({ addon, info: { name: 'cuda', loaded: true, reason: 'made up' } });
  const report = cudaReport();
  const error = ((): unknown => {
    try {
      return createCudaBackend({ device: gpus.length > 0 ? 99 : undefined });
    } catch (e) {
      return e;
    }
  })() as Error & { code: string };
  vi.mocked(loadCudaAddon).mockReset();
  return { report, error: `${error.code} ${error.message}` };
}

it('this machine: a report that says why, and an error with the same words', () => {
  const report = cudaReport();
  expect(report.reason).not.toBe('');
  if (report.available) return;
  expect(() => createCudaBackend()).toThrow(report.reason);
  expect(cudaAddonInfo().name).toBe('cuda');
});

it('options are checked before the machine is looked at', () => {
  expect(() => createCudaBackend({ gpuMath: 'quick' as 'fast' })).toThrow(
    'createCudaBackend: "gpuMath" must be one of exact, fast, got quick',
  );
});

describe('made-up machines', () => {
  it.each([
    [{ driverVersion: 0, error: 'cudaErrorInsufficientDriver' }, /no NVIDIA driver is installed/],
    [
      { driverVersion: 12020, error: 'cudaErrorInsufficientDriver' },
      /driver is too old: it knows CUDA 12\.2, this addon needs 13\.0; update the driver/,
    ],
    [{ error: 'cudaErrorNoDevice' }, /no NVIDIA GPU is visible/],
    [
      { error: 'cudaErrorSystemNotReady', message: 'system not yet initialized' },
      /refuses: system not yet initialized/,
    ],
  ])('%j', (machine, says) => {
    const { report, error } = reportOf(machine);
    expect(report.available).toBe(false);
    expect(report.reason).toMatch(says);
    expect(error).toMatch(/^ERR_UNSUPPORTED createCudaBackend: no GPU to compute on: /);
    expect(error).toMatch(says);
  });

  it('a GPU: its name, memory, driver; an index that is not there', () => {
    const { report, error } = reportOf({}, [H200]);
    expect(report).toMatchObject({ available: true, driver: '13.0' });
    expect(report.reason).toBe(
      'GPU 0: NVIDIA H200, compute capability 9.0, 139.0 of 140.0 GiB free, driver for CUDA 13.0',
    );
    expect(error).toBe('ERR_UNSUPPORTED createCudaBackend: "device" 99 is not there; there are: 0 (NVIDIA H200)');
  });

  it('GPUs that are too old, without code, or that refuse: the next one is taken', () => {
    const old = { ...H200, name: 'Tesla V100', major: 7 };
    const other = { ...H200, name: 'NVIDIA A100', major: 8, hasCode: false };
    expect(reportOf({}, [old]).report.reason).toMatch(/Tesla V100 has compute capability 7\.0; the kernels need 8\.0/);
    expect(reportOf({}, [other]).report.reason).toMatch(
      /A100 has compute capability 8\.0; this addon has code for sm_90a only/,
    );
    expect(reportOf({}, [new Error('broken')]).report.reason).toBe('broken');
    expect(reportOf({}, [old, other, H200]).report.reason).toMatch(/^GPU 2: NVIDIA H200/);
  });
});
