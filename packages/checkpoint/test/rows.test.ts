import { expectBytes, repositoryFile } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { matrixToFloat32, openCheckpoint } from '../src/index';

it.each([
  ['models/tiny', 'layers.1.attn.wq_b', 512, 128, 'bf16'],
  ['models/micro-flash', 'layers.2.attn.wo_a', 32, 64, 'f32'],
] as const)('linearRows reads the rows of %s %s that linear has there', (dir, module, n, k, format) => {
  const checkpoint = openCheckpoint(repositoryFile(dir));
  const whole = checkpoint.linear(module, n, k);
  expect(whole.format).toBe(format);
  for (const [row0, rows] of [
    [0, n],
    [0, 1],
    [n - 1, 1],
    [7, 12],
    [5, 0],
  ] as const) {
    const part = checkpoint.linearRows(module, n, k, row0, rows);
    expect([part.format, part.n, part.k]).toEqual([format, rows, k]);
    expectBytes(matrixToFloat32(part), matrixToFloat32(whole).subarray(row0 * k, (row0 + rows) * k), [rows, k]);
  }
  expect(() => checkpoint.linearRows(module, n, k, -1, 1)).toThrow(
    'Checkpoint.linearRows: "row0" must be an integer in',
  );
  expect(() => checkpoint.linearRows(module, n, k, 1, n)).toThrow(
    `"rows" must be an integer in [0, ${n - 1}], got ${n}`,
  );
  expect(() => checkpoint.linearRows(module, n + 1, k, 0, 1)).toThrow(/expected \[\d+, \d+\], found/);
  checkpoint.close();
});
