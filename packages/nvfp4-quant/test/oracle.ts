import { E2M1_VALUES, E4M3_VALUES, encodeE2m1, encodeE4m3 } from '@megamoe/core';

/** ModelOpt's rule, one float32 step per line, with core's slow encoders. */
export function slowModelOpt(x: Float32Array, g: number): { codes: Uint8Array; sf: Uint8Array } {
  const f = Math.fround;
  const codes = new Uint8Array(x.length / 2);
  const sf = new Uint8Array(x.length / 16);
  for (let b = 0; b < sf.length; b++) {
    const block = x.subarray(b * 16, b * 16 + 16);
    let s = f(Math.max(...block.map(Math.abs)) / f(6 * f(g)));
    if (s === 0) s = 1;
    sf[b] = encodeE4m3(Math.min(Math.max(s, 2 ** -9), 448));
    const d = f(E4M3_VALUES[sf[b]!]! * f(g));
    block.forEach((v, i) => (codes[b * 8 + (i >> 1)]! |= (d === 0 ? 0 : encodeE2m1(f(v / d))) << ((i & 1) * 4)));
  }
  return { codes, sf };
}

/** compressed-tensors' rule, as above. */
export function slowCompressedTensors(x: Float32Array, g: number): { codes: Uint8Array; sf: Uint8Array } {
  const f = Math.fround;
  const codes = new Uint8Array(x.length / 2);
  const sf = new Uint8Array(x.length / 16);
  for (let b = 0; b < sf.length; b++) {
    const block = x.subarray(b * 16, b * 16 + 16);
    const s = encodeE4m3(Math.min(f(f(g) * f(Math.max(...block.map(Math.abs)) / 6)), 448));
    sf[b] = s === 0 ? encodeE4m3(0.125) : s;
    const d = f(E4M3_VALUES[sf[b]!]! / f(g));
    block.forEach((v, i) => {
      const negative = v < 0 || Object.is(v, -0);
      codes[b * 8 + (i >> 1)]! |= (encodeE2m1(Math.abs(f(v / d))) | (negative ? 8 : 0)) << ((i & 1) * 4);
    });
  }
  return { codes, sf };
}

/** Value of element `i`, before the global scale. */
export function value(codes: Uint8Array, sf: Uint8Array, i: number): number {
  return E2M1_VALUES[(codes[i >> 1]! >> ((i & 1) * 4)) & 15]! * E4M3_VALUES[sf[i >> 4]!]!;
}
