/** What a benchmark asks of the addon, without a GPU. */
import { KindError } from '@megamoe/core';
import { expect, it } from 'vitest';
import type { CudaAddon } from '../src/addon';
import { createBench } from '../src/bench';
import { Device } from '../src/device';

/** An addon that notes what it is asked. */
function fake(): { calls: string[]; device: Device; addon: CudaAddon } {
  const calls: string[] = [];
  let next = 0x1000;
  const note =
    <T>(name: string, answer: (...args: number[]) => T) =>
    (_: unknown, ...args: number[]): T => {
      calls.push(`${name}(${args.join(', ')})`);
      return answer(...args);
    };
  const addon = {
    openDevice: () => ({}),
    alloc: note('alloc', (bytes) => (next += bytes) - bytes),
    free: note('free', () => undefined),
    copy: note('copy', () => undefined),
    upload: () => calls.push('upload'),
    putPacked: () => calls.push('putPacked'),
    startClock: note('startClock', () => undefined),
    stopClock: note('stopClock', () => 0.25),
    readRate: note('readRate', () => 4e12),
    matrixRate: note('matrixRate', () => 7e14),
  } as unknown as CudaAddon;
  return { calls, addon, device: new Device(addon, 0) };
}

it('the clock runs around the work, and is stopped when the work fails', () => {
  const { calls, addon, device } = fake();
  const bench = createBench(addon, device, 0);
  expect(bench.seconds(() => void calls.push('work'))).toBe(0.25);
  const failing = (): void => {
    throw new Error('no');
  };
  expect(() => bench.seconds(failing)).toThrow('no');
  expect(calls).toEqual(['startClock()', 'work', 'stopClock()', 'startClock()', 'stopClock()']);
  expect(() => bench.seconds(undefined as never)).toThrow(KindError);
  expect(() => bench.matrixRate(0)).toThrow(/matrixRate: "operations"/);
  expect(bench.matrixRate(2 ** 40)).toBe(7e14);
});

it('passes read two gigabytes in turn, which are taken once', () => {
  const { calls, addon, device } = fake();
  const bench = createBench(addon, device, 0);
  for (let i = 0; i < 3; i++) expect(bench.readRate()).toBe(4e12);
  const [at, gib] = [0x1000, 2 ** 30];
  expect(calls).toEqual([
    `alloc(${2 * gib})`,
    `readRate(${at + gib}, ${gib})`,
    `readRate(${at}, ${gib})`,
    `readRate(${at + gib}, ${gib})`,
  ]);
});

it('experts that are all alike are read once and lie at places of their own', () => {
  const { calls, addon, device } = fake();
  const bench = createBench(addon, device, 0);
  const [n, k] = [32, 64];
  const read: string[] = [];
  const part = { codes: new Uint8Array((n * k) / 4), sf: new Uint8Array((n * k) / 32).fill(0x38) };
  const w = bench.packSameExperts({
    ...{ name: 'same', numExperts: 3, n, k, parts: 2, format: 'nvfp4' },
    read: (expert, half) => (read.push(`${expert}.${half}`), part),
  });
  expect(read).toEqual(['0.0', '0.1']);
  const each = (n * k * 9) / 16;
  expect(w).toMatchObject({ numExperts: 3, bytes: 3 * each });
  expect(calls).toEqual([
    `alloc(${3 * each})`,
    'putPacked',
    'putPacked',
    `copy(${0x1000 + each}, ${0x1000}, ${each})`,
    `copy(${0x1000 + 2 * each}, ${0x1000}, ${each})`,
  ]);
  calls.length = 0;
  bench.packSameExperts({
    ...{ numExperts: 2, n: 4, k: 128, format: 'fp8' },
    read: () => ({ codes: new Uint8Array(4 * 128), scales: new Float32Array(4) }),
  });
  const scales = 0x1000 + 3 * each + 1024;
  expect(calls.filter((call) => call.startsWith('copy'))).toEqual([
    `copy(${0x1000 + 3 * each + 512}, ${0x1000 + 3 * each}, 512)`,
    `copy(${scales + 16}, ${scales}, 16)`,
  ]);
});
