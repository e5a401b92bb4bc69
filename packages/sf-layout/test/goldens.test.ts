import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSfGeometry, kSfOf, sfCoordinate, sfOffset, sfOffsetTable } from '@megamoe/sf-layout';
import type { SfVecSize } from '@megamoe/sf-layout';
import { expectBytes } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';

interface Case {
  id: string;
  sfVecSize: SfVecSize;
  rows: number;
  k: number;
  l: number;
  kSf: number;
  allocationBytes: number;
  batchStrideBytes: number;
  sha256: string;
  file?: string;
  samplesFile?: string;
}

const golden = (name: string): Buffer => readFileSync(new URL(`goldens/${name}`, import.meta.url));
const { cases } = JSON.parse(golden('cases.json').toString()) as { cases: Case[] };

describe('CUTLASS layouts', () => {
  it('has all 120 cases', () => expect(cases.length).toBe(120));

  it.each(cases)('$id', (c) => {
    expect(kSfOf(c.k, c.sfVecSize)).toBe(c.kSf);
    const geometry = createSfGeometry({ rows: c.rows, kSf: c.kSf, l: c.l });
    expect(geometry.allocationBytes).toBe(c.allocationBytes);
    expect(geometry.batchStrideBytes).toBe(c.batchStrideBytes);
    const offsets = sfOffsetTable(geometry);
    if (c.file) {
      const bytes = golden(c.file);
      const want = Uint32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(4 * i));
      expectBytes(offsets, want, [c.l, c.rows, c.kSf]);
    }
    if (c.samplesFile) {
      const { samples } = JSON.parse(golden(c.samplesFile).toString()) as {
        samples: [number, number, number, number][];
      };
      for (const [row, kSf, l, offset] of samples) {
        expect(sfOffset(geometry, row, kSf, l)).toBe(offset);
        expect(sfCoordinate(geometry, offset)).toEqual({ l, row, kSf, padding: false });
      }
    }
    const bytes = Buffer.alloc(offsets.length * 4);
    offsets.forEach((offset, i) => bytes.writeUInt32LE(offset, 4 * i));
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(c.sha256);
  });
});
