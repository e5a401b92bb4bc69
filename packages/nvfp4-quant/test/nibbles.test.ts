import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import {
  dequantizeNvfp4,
  GGUF_BLOCK,
  GGUF_BLOCK_BYTES,
  globalDecodeScale,
  packGguf,
  packNibbles,
  reorderNibbles,
  unpackGguf,
  unpackNibbles,
} from '@megamoe/nvfp4-quant';
import type { NibbleOrder } from '@megamoe/nvfp4-quant';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';

const ORDERS: NibbleOrder[] = ['low-first', 'high-first', 'half-split'];
const PLACE: Record<NibbleOrder, (c: number) => [byte: number, high: boolean]> = {
  'low-first': (c) => [c >> 1, c % 2 === 1],
  'high-first': (c) => [c >> 1, c % 2 === 0],
  'half-split': (c) => [(c >> 4) * 8 + (c % 8), c % 16 >= 8],
};

describe('nibbles', () => {
  it('pack with the even column low, and come back', () => {
    expect([...packNibbles(Uint8Array.of(1, 2, 15, 0), { m: 1, k: 4 })]).toEqual([0x21, 0x0f]);
    expect([...unpackNibbles(Uint8Array.of(0x21, 0x0f), { m: 2, k: 2 })]).toEqual([1, 2, 15, 0]);
    const unpacked = seeded(1).bytes(7 * 6, 16);
    const codes = new Uint8Array(21).fill(0xcc);
    expect(packNibbles(unpacked, { m: 7, k: 6 }, codes)).toBe(codes);
    const back = new Uint8Array(42).fill(0xcc);
    expectBytes(unpackNibbles(codes, { m: 7, k: 6 }, back), unpacked);
    expect(packNibbles(new Uint8Array(0), { m: 0, k: 2 }).length).toBe(0);
  });

  it.each(ORDERS.flatMap((from) => ORDERS.map((to) => ({ from, to }))))('reorder $from to $to', ({ from, to }) => {
    const [m, k] = [3, 32];
    const unpacked = seeded(2).bytes(m * k, 16);
    const put = (order: NibbleOrder): Uint8Array => {
      const out = new Uint8Array((m * k) / 2);
      for (let i = 0; i < m * k; i++) {
        const [byte, high] = PLACE[order](i);
        out[byte]! |= unpacked[i]! << (high ? 4 : 0);
      }
      return out;
    };
    const codes = put(from);
    expectBytes(reorderNibbles(codes, { m, k, from, to }), put(to));
    expect(reorderNibbles(codes, { m, k, from, to }, codes)).toBe(codes); // in place
    expectBytes(codes, put(to));
  });

  it('say what is wrong', () => {
    const four = new Uint8Array(4);
    expect(() => packNibbles(Uint8Array.of(1, 16), { m: 1, k: 2 })).toThrow(
      'packNibbles: "unpacked" must hold codes in [0, 15], got 16 at index 1',
    );
    expect(() => packNibbles(four, { m: 1, k: 3 })).toThrow('packNibbles: "k" must be a multiple of 2, got 3');
    expect(() => packNibbles(four, { m: 1, k: 2 })).toThrow('packNibbles: "unpacked" must have length M*K = 2, got 4');
    expect(() => packNibbles(four, { m: 1, k: 4 }, four)).toThrow(
      'packNibbles: "codes" must have length M*K/2 = 2, got 4',
    );
    expect(() => unpackNibbles(four, { m: 1, k: 4 })).toThrow(
      'unpackNibbles: "codes" must have length M*K/2 = 2, got 4',
    );
    expect(() => unpackNibbles(four, { m: 1, k: 8 }, four)).toThrow(
      'unpackNibbles: "unpacked" must have length M*K = 8, got 4',
    );
    expect(() => unpackNibbles([1] as unknown as Uint8Array, { m: 1, k: 2 })).toThrow(
      '"codes" must be a Uint8Array, got Array',
    );
    const shape = { m: 1, k: 16, from: 'low-first', to: 'half-split' } as const;
    expect(() => reorderNibbles(four, shape)).toThrow('reorderNibbles: "codes" must have length M*K/2 = 8, got 4');
    expect(() => reorderNibbles(four, { ...shape, k: 8 })).toThrow(
      'reorderNibbles: "k" must be a multiple of 16, got 8',
    );
    expect(() => reorderNibbles(four, { ...shape, from: 'x' as NibbleOrder })).toThrow(
      'reorderNibbles: "from" must be one of low-first, high-first, half-split, got x',
    );
    expect(() => reorderNibbles(four, { ...shape, to: 'x' as NibbleOrder })).toThrow(
      'reorderNibbles: "to" must be one of',
    );
  });
});

/** ggml's own reading of a block: doubled values, halved scales, 0x7F is 0. */
function ggmlDequantize(blocks: Uint8Array): number[] {
  const out: number[] = [];
  for (let at = 0; at < blocks.length; at += GGUF_BLOCK_BYTES) {
    for (let s = 0; s < 4; s++) {
      const d = blocks[at + s] === 0x7f ? 0 : E4M3_VALUES[blocks[at + s]!]! * 0.5;
      const q = blocks.subarray(at + 4 + s * 8, at + 12 + s * 8);
      for (const b of q) out.push(E2M1_VALUES[b & 15]! * 2 * d);
      for (const b of q) out.push(E2M1_VALUES[b >> 4]! * 2 * d);
    }
  }
  return out;
}

describe('GGUF', () => {
  it('lays a block out as ggml reads it', () => {
    const unpacked = Uint8Array.from({ length: 64 }, (_, i) => i % 16);
    const blocks = packGguf(packNibbles(unpacked, { m: 1, k: 64 }), Uint8Array.of(1, 2, 3, 4), { m: 1, k: 64 });
    expect([...blocks.subarray(0, 6)]).toEqual([1, 2, 3, 4, 0x80, 0x91]); // element 0 with 8, 1 with 9
    expect(blocks.length).toBe(36);
    expect([GGUF_BLOCK, GGUF_BLOCK_BYTES]).toEqual([64, 36]);
  });

  it('decodes to the same values, and comes back', () => {
    for (const [m, k] of [
      [0, 64],
      [1, 64],
      [5, 192],
    ] as const) {
      const codes = seeded(3).bytes((m * k) / 2);
      const sf = seeded(4).scales((m * k) / 16, true);
      const blocks = new Uint8Array(((m * k) / 64) * 36).fill(0xcc);
      expect(packGguf(codes, sf, { m, k }, blocks)).toBe(blocks);
      const want = dequantizeNvfp4(codes, sf, { m, k, globalDecodeScale: globalDecodeScale(1) });
      expectBytes(ggmlDequantize(blocks), want, [m, k]);
      const back = { codes: codes.map(() => 0xcc), sf: sf.map(() => 0xcc) };
      expect(unpackGguf(blocks, { m, k }, back.codes, back.sf)).toEqual({ codes, sf });
    }
  });

  it('reads the scale 0x7F as 0, like ggml', () => {
    const blocks = new Uint8Array(36).fill(0x11);
    blocks.set([0x7f, 0x38, 0, 1]);
    const { sf } = unpackGguf(blocks, { m: 1, k: 64 });
    expect([...sf]).toEqual([0, 0x38, 0, 1]);
  });

  it('says what is wrong', () => {
    const shape = { m: 1, k: 64 };
    const codes = new Uint8Array(32);
    const sf = Uint8Array.of(1, 1, 0x7f, 1);
    expect(() => packGguf(codes, sf, shape)).toThrow(
      'packGguf: "sf" must hold E4M3 bytes in [0, 0x7e], got 0x7f at index 2',
    );
    expect(() => packGguf(codes, Uint8Array.of(0x81, 1, 1, 1), shape)).toThrow('got 0x81 at index 0');
    expect([...packGguf(codes, Uint8Array.of(0x80, 1, 0x80, 0), shape).subarray(0, 4)]).toEqual([0, 1, 0, 0]);
    expect(() => packGguf(codes, sf, { m: 1, k: 32 })).toThrow('packGguf: "k" must be a multiple of 64, got 32');
    expect(() => packGguf(codes.subarray(1), sf, shape)).toThrow(
      'packGguf: "codes" must have length M*K/2 = 32, got 31',
    );
    expect(() => packGguf(codes, sf.subarray(1), shape)).toThrow('packGguf: "sf" must have length M*K/16 = 4, got 3');
    expect(() => packGguf(codes, sf, shape, codes)).toThrow(
      'packGguf: "blocks" must have length M*K/64*36 = 36, got 32',
    );
    const blocks = new Uint8Array(36);
    blocks[3] = 0x81;
    const out = codes.slice().fill(0xcc);
    expect(() => unpackGguf(blocks, shape, out)).toThrow(
      'unpackGguf: "blocks" must hold UE4M3 scales in [0, 0x7f], got 0x81 at index 3',
    );
    expect(out.every((b) => b === 0xcc)).toBe(true);
    expect(() => unpackGguf(codes, shape)).toThrow('unpackGguf: "blocks" must have length M*K/64*36 = 36, got 32');
    expect(() => unpackGguf([] as unknown as Uint8Array, shape)).toThrow('"blocks" must be a Uint8Array, got Array');
  });
});
