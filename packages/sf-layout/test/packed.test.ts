import { packedSfLength, packSfWords, unpackSfWords } from '@megamoe/sf-layout';
import type { PackedOrder } from '@megamoe/sf-layout';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';

describe('packed scales', () => {
  it('puts the first of four columns in the lowest byte', () => {
    const sf = Uint8Array.of(1, 2, 3, 4, 0xff);
    expect([...packSfWords(sf, { rows: 1, kSf: 5 })]).toEqual([0x04030201, 0, 0, 0, 0xff, 0, 0, 0]);
    expect([...packSfWords(sf, { rows: 1, kSf: 5, order: 'row-major' })]).toEqual([0x04030201, 0xff]);
    expect([...packSfWords(Uint8Array.of(0, 0, 0, 0x80), { rows: 1, kSf: 4, order: 'row-major' })]).toEqual([
      0x80000000,
    ]);
  });

  it('lies as DeepGEMM lays it: rows contiguous, padded to 16 bytes', () => {
    const [rows, kSf, l] = [5, 9, 2];
    const sf = seeded(21).bytes(rows * kSf * l);
    const words = packSfWords(sf, { rows, kSf, l });
    expect(words.length).toBe(2 * 3 * 8);
    for (let b = 0; b < l; b++) {
      for (let j = 0; j < 3; j++) {
        for (let row = 0; row < 8; row++) {
          let want = 0;
          for (let c = 0; c < 4; c++) {
            if (row < rows && 4 * j + c < kSf) want += sf[(b * rows + row) * kSf + 4 * j + c]! * 256 ** c;
          }
          expect(words[b * 24 + j * 8 + row]).toBe(want);
        }
      }
    }
  });

  it.each(
    (['mn-major', 'row-major'] as PackedOrder[]).flatMap((order) => [
      { rows: 0, kSf: 4, l: 1, order },
      { rows: 3, kSf: 0, l: 1, order },
      { rows: 1, kSf: 1, l: 1, order },
      { rows: 4, kSf: 4, l: 3, order },
      { rows: 129, kSf: 7, l: 2, order },
    ]),
  )('come back: $order $rows x $kSf x $l', (shape) => {
    const sf = seeded(22).bytes(shape.rows * shape.kSf * shape.l);
    const length = packedSfLength(shape);
    const words = new Uint32Array(length + 1).fill(0xcccccccc);
    expect(packSfWords(sf, shape, words)).toBe(words);
    expect(words.at(-1)).toBe(0xcccccccc);
    const back = new Uint8Array(sf.length + 1).fill(0xcc);
    expect(unpackSfWords(words, shape, back)).toBe(back);
    expectBytes(back, [...sf, 0xcc]);
    expectBytes(unpackSfWords(packSfWords(sf, shape), shape), sf);
  });

  it('says what is wrong', () => {
    const shape = { rows: 5, kSf: 5 };
    const sf = new Uint8Array(25);
    const words = new Uint32Array(16);
    expect(() => packSfWords(sf.subarray(1), shape)).toThrow(
      'packSfWords: "sf" must hold at least L*rows*kSf = 25 elements, got 24',
    );
    expect(() => packSfWords(sf, shape, words.subarray(1))).toThrow(
      'packSfWords: "out" must hold at least packedSfLength = 16',
    );
    expect(() => packSfWords(words as unknown as Uint8Array, shape)).toThrow(
      'packSfWords: "sf" must be a Uint8Array, got Uint32Array',
    );
    expect(() => packSfWords(sf, shape, sf as unknown as Uint32Array)).toThrow(
      '"out" must be a Uint32Array, got Uint8Array',
    );
    expect(() => unpackSfWords(words.subarray(1), shape)).toThrow(
      'unpackSfWords: "words" must hold at least packedSfLength = 16',
    );
    expect(() => unpackSfWords(words, shape, sf.subarray(1))).toThrow(
      'unpackSfWords: "sf" must hold at least L*rows*kSf = 25',
    );
    expect(() => unpackSfWords(sf as unknown as Uint32Array, shape)).toThrow('"words" must be a Uint32Array');
    expect(() => packedSfLength({ rows: -1, kSf: 1 })).toThrow(
      'packedSfLength: "rows" must be an integer at least 0, got -1',
    );
    expect(() => packedSfLength({ rows: 1, kSf: 0.5 })).toThrow('"kSf" must be an integer');
    expect(() => packedSfLength({ rows: 1, kSf: 1, l: -1 })).toThrow('"l" must be an integer');
    expect(() => packedSfLength({ rows: 1, kSf: 1, order: 'k-major' as PackedOrder })).toThrow(
      'packedSfLength: "order" must be one of mn-major, row-major, got k-major',
    );
  });
});
