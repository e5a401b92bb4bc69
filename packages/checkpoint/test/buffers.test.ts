/** Reads into the memory of somebody else, who may read for us too. */
import { readSync } from 'node:fs';
import { repositoryFile } from '@megamoe/testkit';
import { afterAll, expect, it } from 'vitest';
import { openCheckpoint, ReadBuffers, type ReadTarget } from '../src/index';

const checkpoint = openCheckpoint(repositoryFile('models/micro-flash'));
afterAll(() => checkpoint.close());

/** A target that keeps account. `cut`: reads of more bytes end there. */
function target(cut = Infinity): ReadTarget & { readonly taken: Uint8Array[]; rewinds: number; reads: number } {
  return {
    taken: [],
    rewinds: 0,
    reads: 0,
    take(bytes) {
      const made = new Uint8Array(bytes);
      this.taken.push(made);
      return made;
    },
    rewind() {
      this.rewinds++;
    },
    read(file, out, at, bytes, position) {
      this.reads++;
      return bytes > cut ? 0 : readSync(file, out, at, bytes, position);
    },
  };
}

it('a matrix lies in the memory of the target, which reads what is large', () => {
  const to = target();
  const buffers = new ReadBuffers(to);
  const want = checkpoint.linear('layers.0.attn.wq_a', 32, 64);
  const got = checkpoint.linearRows('layers.0.attn.wq_a', 32, 64, 0, 32, buffers);
  expect(got).toEqual(want);
  if (got.format !== 'f32') throw new Error(`the model has it in ${got.format}`);
  expect(to.taken.map(({ buffer }) => buffer)).toContain(got.data.buffer);
  expect([to.rewinds, buffers.bytes]).toEqual([1, 0]);
  expect(to.reads).toBe(1);
  checkpoint.linearRows('layers.0.attn.wq_a', 32, 64, 0, 1, buffers);
  expect(to.rewinds).toBe(2);
});

it('a file that ends early for the target is cut short for us', () => {
  expect(() => checkpoint.linearRows('layers.0.attn.wq_a', 32, 64, 0, 32, new ReadBuffers(target(1000)))).toThrow(
    /tensor .*wq_a.*: truncated: expected \d+ bytes at \d+, found 0/,
  );
});

it('a target that does not do its part is refused by name', () => {
  const read = (to: unknown) => () =>
    checkpoint.linearRows('layers.0.attn.wq_a', 32, 64, 0, 32, new ReadBuffers(to as ReadTarget));
  expect(read(3)).toThrow('ReadBuffers: "target" must be an object, got number');
  expect(read({ take: 1 })).toThrow('ReadBuffers: "target.take" must be a function, got 1');
  expect(read({ ...target(), rewind: null })).toThrow('"target.rewind" must be a function');
  expect(read({ ...target(), read: 7 })).toThrow('"target.read" must be a function');
  expect(read({ ...target(), take: () => new Uint8Array(3) })).toThrow(
    /"target\.take\(\)" must be \d+ bytes at the beginning of an ArrayBuffer, got 3 at 0/,
  );
  expect(read({ ...target(), take: (n: number) => new Uint8Array(new ArrayBuffer(n + 8), 8) })).toThrow(/got \d+ at 8/);
  expect(read({ ...target(), read: () => 1e9 })).toThrow(
    '"target.read()" must be an integer in [0, 8192], got 1000000000',
  );
  expect(read({ ...target(), read: () => NaN })).toThrow('"target.read()" must be an integer');
});
