import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { adviseHugePages, gemmAddonInfo } from '../src/index';

/** Bytes of this process in pages of 2 MiB; undefined where the system does not say. */
function hugeBytes(): number | undefined {
  try {
    const kb = /^AnonHugePages: +(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'))?.[1];
    return kb === undefined ? undefined : Number(kb) * 1024;
  } catch {
    return undefined;
  }
}

/** Whether the system gives such pages to who asks. */
function isOffered(): boolean {
  try {
    return !readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').includes('[never]');
  } catch {
    return false;
  }
}

it('keeps an array in huge pages where there are any, and its contents everywhere', () => {
  const before = hugeBytes();
  const array = new Float32Array(16 << 20);
  array[5] = 7;
  adviseHugePages(array.subarray(1));
  array.fill(1, 6);
  expect([array[4], array[5], array[6], array.at(-1)]).toEqual([0, 7, 1, 1]);
  const after = hugeBytes();
  // 64 MiB: all but the ends and what the system could not find.
  if (gemmAddonInfo().loaded && isOffered() && before !== undefined) expect(after! - before).toBeGreaterThan(16 << 20);
});

it('takes small and empty arrays, and refuses what is none', () => {
  adviseHugePages(new Uint8Array(0));
  adviseHugePages(new Int32Array(10));
  expect(() => {
    adviseHugePages([1, 2] as never);
  }).toThrow('adviseHugePages: "array" must be a typed array');
});

it('takes an array of more bytes than an array has elements, without touching it', () => {
  const floats = new Float32Array(2 ** 30 + 4096);
  const before = process.memoryUsage.rss();
  adviseHugePages(floats);
  expect(process.memoryUsage.rss() - before).toBeLessThan(2 ** 30);
  expect(floats[2 ** 30 + 4095]).toBe(0);
});
