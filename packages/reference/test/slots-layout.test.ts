import { readFileSync } from 'node:fs';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import {
  assembleSf128x4,
  assignSlots,
  expertOfRow,
  paddedOffsets,
  sfBytes128x4,
  sfOffset128x4,
  swizzleSf128x4,
} from '../src/index';

describe('slots', () => {
  it('expertOfRow is searchsorted right', () => {
    const offsets = Int32Array.of(0, 4, 4, 8, 8);
    expect([0, 3, 4, 7].map((r) => expertOfRow(offsets, r))).toEqual([1, 1, 3, 3]);
    expect(() => expertOfRow(offsets, 8)).toThrow('"row" 8 lies past the last end 8');
    expect(() => expertOfRow([], 0)).toThrow('past the last end 0');
    expect(() => expertOfRow(offsets, -1)).toThrow('"row"');
  });
  it('orders choices by expert, then token', () => {
    const { expertOffsets, slotToken, tokenSlots } = assignSlots([2, 0, 0, 2, 3, 2], { t: 3, topk: 2, numExperts: 5 });
    expect([...expertOffsets]).toEqual([2, 2, 5, 6, 6]);
    expect([...slotToken]).toEqual([0, 1, 0, 1, 2, 2]);
    expect([...tokenSlots]).toEqual([2, 0, 1, 3, 5, 4]);
  });
  it('leaves out -1', () => {
    const { expertOffsets, slotToken, tokenSlots } = assignSlots([-1, 1], { t: 2, topk: 1, numExperts: 2 });
    expect([[...expertOffsets], [...slotToken], [...tokenSlots]]).toEqual([[0, 1], [1], [-1, 0]]);
  });
  it('tokenSlots is the inverse of slotToken', () => {
    const random = seeded(4);
    const ids = 50;
    const topkIds = Array.from({ length: ids }, () => random.choose(8, 3)).flat();
    const { slotToken, tokenSlots, expertOffsets } = assignSlots(topkIds, { t: ids, topk: 3, numExperts: 8 });
    tokenSlots.forEach((slot, at) => {
      expect(slotToken[slot]).toBe(Math.floor(at / 3));
      expect(expertOfRow(expertOffsets, slot)).toBe(topkIds[at]);
    });
  });
  it('pads each expert with rows to whole tiles', () => {
    expect([...paddedOffsets([4, 4, 132, 133])]).toEqual([128, 128, 256, 384]);
    expect([...paddedOffsets([4, 4, 13], 8)]).toEqual([8, 8, 24]);
  });
  it('refuses bad ids and offsets', () => {
    expect(() => assignSlots([4], { t: 1, topk: 1, numExperts: 4 })).toThrow(
      '"topkIds[0]" must be an integer in [-1, 3]',
    );
    expect(() => assignSlots([1], { t: 2, topk: 1, numExperts: 4 })).toThrow('T*topk = 2, got 1');
    expect(() => paddedOffsets([4, 3])).toThrow('"expertOffsets[1]"');
    expect(() => paddedOffsets([4], 0)).toThrow('"rowsPerTile"');
  });
});

interface Case {
  id: string;
  rows: number;
  l: number;
  kSf: number;
  allocationBytes: number;
  file: string;
}

describe('128x4 layout against CUTLASS', () => {
  const golden = new URL('goldens/sf-layout/', import.meta.url);
  const { cases } = JSON.parse(readFileSync(new URL('cases.json', golden), 'utf8')) as { cases: Case[] };
  it('has its cases', () => expect(cases.length).toBe(6));
  it.each(cases)('$id', ({ rows, l, kSf, allocationBytes, file }) => {
    const want = new Uint32Array(new Uint8Array(readFileSync(new URL(file, golden))).buffer);
    expect(sfBytes128x4(rows, kSf) * l).toBe(allocationBytes);
    const got = Uint32Array.from({ length: l * rows * kSf }, (_, i) => {
      const batch = Math.floor(i / (rows * kSf));
      return batch * sfBytes128x4(rows, kSf) + sfOffset128x4(Math.floor(i / kSf) % rows, i % kSf, kSf);
    });
    expectBytes(got, want, [l, rows, kSf]);
  });
});

describe('128x4 layout', () => {
  it('swizzles every byte once and pads with zeros', () => {
    const [rows, kSf] = [130, 6];
    const sf = seeded(2)
      .bytes(rows * kSf, 255)
      .map((b) => b + 1);
    const out = swizzleSf128x4(sf, { rows, kSf });
    expect(out.length).toBe(2 * 2 * 512);
    expect(out.reduce((n, b) => n + (b ? 1 : 0), 0)).toBe(rows * kSf);
    expect(out[sfOffset128x4(129, 5, kSf)]).toBe(sf[129 * kSf + 5]);
  });
  it('assembles each expert alone; an empty one has no rows', () => {
    const kSf = 4;
    const sf = seeded(3).bytes(135 * kSf);
    const expertOffsets = [2, 2, 132, 135];
    const out = assembleSf128x4(sf, { kSf, expertOffsets });
    expect(out.length).toBe(paddedOffsets(expertOffsets).at(-1)! * kSf);
    const part = (from: number, to: number): Uint8Array =>
      swizzleSf128x4(sf.subarray(from * kSf, to * kSf), { rows: to - from, kSf });
    expectBytes(out, [...part(0, 2), ...part(2, 132), ...part(132, 135)]);
    expect(assembleSf128x4(new Uint8Array(0), { kSf, expertOffsets: [] }).length).toBe(0);
  });
  it('refuses what does not fit', () => {
    expect(() => sfOffset128x4(0, 4, 4)).toThrow('"column" must be an integer in [0, 3], got 4');
    expect(() => sfOffset128x4(-1, 0, 4)).toThrow('"row"');
    expect(() => sfBytes128x4(-1, 4)).toThrow('"rows"');
    expect(() => sfBytes128x4(1, 0.5)).toThrow('"kSf"');
    expect(() => swizzleSf128x4(new Uint8Array(3), { rows: 1, kSf: 4 })).toThrow('rows*kSf = 4, got 3');
    expect(() => assembleSf128x4(new Uint8Array(3), { kSf: 4, expertOffsets: [1] })).toThrow('R*kSf = 4, got 3');
  });
});
