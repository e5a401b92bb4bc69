import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { BACKENDS, bf16, poisoned } from './backends';

describe.each(BACKENDS.filter((b) => !/x[25]$/.test(b.name)))('packLinear from a reader on $name', ({ kernels }) => {
  it.each([
    ['f32', 2, 1500, 1000],
    ['bf16', 1, 9, 16],
    ['bf16', 1, 2100, 2048],
  ] as const)('%s groups=%i n=%i k=%i: asked for every row once, a few megabytes at a time', (dtype, groups, n, k) => {
    const source = bf16(seeded(n).floats(groups * n * k));
    const data = dtype === 'f32' ? source.values : source.bits;
    const asked: [number, number][] = [];
    const read = (row0: number, rows: number): Float32Array | Uint16Array => {
      asked.push([row0, rows]);
      return data.subarray(row0 * k, (row0 + rows) * k);
    };
    const w = kernels.packLinear({ n, k, groups, dtype, data: read });
    let next = 0;
    for (const [row0, rows] of asked) {
      expect(row0).toBe(next);
      expect(rows * k * (dtype === 'f32' ? 4 : 2)).toBeLessThanOrEqual(8e6);
      next += rows;
    }
    expect(next).toBe(groups * n);
    const x = seeded(1).floats(2 * groups * k);
    const [got, want] = [poisoned(2 * groups * n), poisoned(2 * groups * n)];
    kernels.linear({ w, x, rows: 2, inputs: 'f32', out: got });
    kernels.linear({ w: kernels.packLinear({ n, k, groups, dtype, data }), x, rows: 2, inputs: 'f32', out: want });
    expectBytes(got, want, [2, groups * n]);
  });
  it('refuses rows of the wrong kind or length', () => {
    const shape = { n: 4, k: 8, dtype: 'bf16' } as const;
    expect(() => kernels.packLinear({ ...shape, data: () => new Float32Array(32) })).toThrow(
      'packLinear: data(0, 4): "data" must be a Uint16Array, got Float32Array',
    );
    expect(() => kernels.packLinear({ ...shape, data: () => new Uint16Array(31) })).toThrow(
      'packLinear: data(0, 4): "data" must have length rows*k = 32, got 31',
    );
  });
});
