/** Files are read into pinned memory while earlier reads are on their way to the device, and nothing is written over before it is there. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PinnedReads } from '../src/read-memory';
import { HostMemory } from './host-memory';

const SIZE = 100_000;

describe('a ring of pinned buffers', () => {
  it('hands a buffer out again when the copies from it are done, and no earlier', () => {
    const memory = new HostMemory(1e7);
    const { device } = memory;
    const reads = new PinnedReads(device);
    const placed = Array.from({ length: 10 }, (_, i) => {
      reads.rewind();
      const to = device.alloc('test', 2 * SIZE);
      for (const half of [0, 1]) {
        const data = reads.take(SIZE);
        expect([data.byteOffset, data.length]).toEqual([0, SIZE]);
        data.fill(2 * i + half);
        device.upload('test', to.address + half * SIZE, data, 0, SIZE);
      }
      return to.address;
    });
    expect(memory.pinned.size).toBe(3 * 2); // three turns of two buffers each
    reads.dispose();
    placed.forEach((at, i) => {
      expect(new Set(memory.at(at, SIZE)), `read ${i}`).toEqual(new Set([2 * i]));
      expect(new Set(memory.at(at + SIZE, SIZE))).toEqual(new Set([2 * i + 1]));
    });
    expect(memory.pinned.size).toBe(0);
  });

  it('the copies of one read go on while the next is read', () => {
    const memory = new HostMemory(1e7);
    const { device } = memory;
    const reads = new PinnedReads(device);
    const to = device.alloc('test', SIZE).address;
    reads.rewind();
    device.upload('test', to, reads.take(SIZE).fill(7), 0, SIZE);
    reads.rewind();
    reads.take(SIZE).fill(8);
    expect(memory.at(to, 1)[0]).toBe(0); // nobody has waited for it
    reads.dispose();
    expect(memory.at(to, 1)[0]).toBe(7);
  });

  it('pins what is worth it, grows by whole megabytes, and unpins what it lets go', () => {
    const memory = new HostMemory(1e7);
    const reads = new PinnedReads(memory.device);
    const take = (bytes: number): number => {
      for (let turn = 0; turn < 3; turn++) reads.rewind();
      return reads.take(bytes).buffer.byteLength - 8192; // which keeps pages of two buffers apart
    };
    expect(take(4)).toBe(4);
    expect(memory.pinned.size).toBe(0);
    expect(take(70_000)).toBe(2 ** 20);
    expect(take(2 ** 20)).toBe(2 ** 20);
    expect(take(2 ** 20 + 1)).toBe(2 ** 21);
    expect(take(9)).toBe(2 ** 21);
    expect(memory.pinned.size).toBe(1);
    reads.dispose();
    reads.dispose();
    expect(memory.pinned.size).toBe(0);
    expect(() => reads.take(-1)).toThrow('take: "bytes" must be an integer');
  });

  it('where nothing can be pinned, copies are taken at once', () => {
    const memory = new HostMemory(1e7);
    memory.refusesToPin = true;
    const { device } = memory;
    const reads = new PinnedReads(device);
    const to = device.alloc('test', SIZE).address;
    device.upload('test', to, reads.take(SIZE).fill(7), 0, SIZE);
    expect(memory.at(to, SIZE)[SIZE - 1]).toBe(7);
    reads.dispose();
    expect(memory.pinned.size).toBe(0);
  });

  it('reads files by the addon, and leaves nothing when the device is closed first', () => {
    const dir = mkdtempSync(join(tmpdir(), 'megamoe-cuda-'));
    const file = join(dir, 'data');
    writeFileSync(
      file,
      Uint8Array.from({ length: 100 }, (_, i) => i),
    );
    const fd = openSync(file, 'r');
    const { device } = new HostMemory(1e7);
    const reads = new PinnedReads(device);
    const out = reads.take(SIZE);
    expect(reads.read!(fd, out, 1, 20, 90)).toBe(10);
    expect([...out.subarray(1, 11)]).toEqual([90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
    closeSync(fd);
    rmSync(dir, { recursive: true });
    device.close();
    reads.dispose();
    expect(() => reads.rewind()).toThrow('rewind: the cuda backend has been disposed');
  });
});

it('what the whole GPU has is asked each time', () => {
  const memory = new HostMemory(1000);
  const { device } = memory;
  expect(device.deviceMemory('deviceMemory')).toEqual({ freeBytes: 1000, totalBytes: 1000 });
  device.alloc('test', 300);
  expect(device.deviceMemory('deviceMemory').freeBytes).toBe(700);
});
