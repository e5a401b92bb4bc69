import { expect, it } from 'vitest';
import { philox4x32 } from '../src/index';

/** Rows `philox4x32 10` of Random123 1.14.0, tests/kat_vectors: counter, key, output. */
const KNOWN_ANSWERS = [
  '00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8',
  'ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd',
  '243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1',
];

it.each(KNOWN_ANSWERS)('gives the published answer: %s', (row) => {
  const [c0, c1, c2, c3, k0, k1, ...want] = row.split(' ').map((word) => parseInt(word, 16));
  const out = new Uint32Array(4).fill(0xcccccccc);
  philox4x32(c0!, c1!, c2!, c3!, k0!, k1!, out);
  expect([...out]).toEqual(want);
});

it('equals 64-bit integer arithmetic on random counters', () => {
  const mask = 0xffffffffn;
  const reference = (c: bigint[], k: bigint[]): bigint[] => {
    for (let round = 0; round < 10; round++) {
      const p0 = 0xd2511f53n * c[0]!;
      const p1 = 0xcd9e8d57n * c[2]!;
      c = [(p1 >> 32n) ^ c[1]! ^ k[0]!, p1 & mask, (p0 >> 32n) ^ c[3]! ^ k[1]!, p0 & mask];
      k = [(k[0]! + 0x9e3779b9n) & mask, (k[1]! + 0xbb67ae85n) & mask];
    }
    return c;
  };
  const words = new Uint32Array(6);
  const out = new Uint32Array(4);
  for (let i = 0; i < 500; i++) {
    for (let j = 0; j < 6; j++) words[j] = Math.imul(i * 6 + j + 1, 0x9e3779b1) ^ (i << 13);
    const [c0, c1, c2, c3, k0, k1] = words;
    philox4x32(c0!, c1!, c2!, c3!, k0!, k1!, out);
    const big = [...words].map(BigInt);
    expect([...out].map(BigInt)).toEqual(reference(big.slice(0, 4), big.slice(4)));
  }
});
