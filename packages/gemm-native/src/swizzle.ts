import { availableParallelism } from 'node:os';
import { checkInteger, checkObject, checkOneOf, newArray, plainView, roundUp } from '@megamoe/core';
import { MAX_THREADS } from '@megamoe/native-kit';
import { loadGemmAddon } from './binding';
import { ARRAYS } from './checks';

/** Shape of {@link swizzleScales128x4}, and where to compute. */
export interface SwizzleOptions {
  readonly rows: number;
  /** Scales in a row: K/16 for NVFP4. */
  readonly kSf: number;
  /** Default `auto`: the addon where it is built. */
  readonly backend?: 'auto' | 'js';
  /** 1 to 256; default: the processors that are available. */
  readonly threads?: number;
}

/** What the addon has for this; native/bindings/swizzle.cc is the other side. */
interface SwizzleAddon {
  swizzle128x4(threads: number, sf: Uint8Array, rows: number, kSf: number, out: Uint8Array): void;
}

let kept: SwizzleAddon | undefined;

/**
 * The addon; once it is loaded it is kept, as kernels keep theirs. Asking {@link loadGemmAddon} reads the environment: that takes as long
 * as 30 KB of scales.
 */
function nativeSwizzle(): SwizzleAddon | undefined {
  return (kept ??= loadGemmAddon().addon as SwizzleAddon | undefined);
}

/**
 * Block scales from row-major to 128x4 tiles, at the speed of memory:
 * `out[(m/128)*(ceil(kSf/4)*512) + (k/4)*512 + (m%32)*16 + ((m%128)/32)*4 + k%4] = sf[m, k]`, padding zero (NVIDIA CUTLASS
 * `Sm1xxBlockScaledConfig`). For other layouts, assembly by expert and checks see `@megamoe/sf-layout`.
 * @param sf  [rows, kSf] u8, row-major; may be longer
 * @param given the output, [roundUp(rows, 128) * roundUp(kSf, 4)] u8; may be longer, must not overlap `sf`
 * @throws ShapeError, KindError, ValueError
 */
export function swizzleScales128x4(sf: Uint8Array, options: SwizzleOptions, given?: Uint8Array): Uint8Array {
  const fn = 'swizzleScales128x4';
  checkObject(fn, 'options', options);
  const { rows, kSf, backend = 'auto', threads = Math.min(availableParallelism(), MAX_THREADS) } = options;
  checkInteger(fn, 'rows', rows, 0, 2 ** 40);
  checkInteger(fn, 'kSf', kSf, 0, 2 ** 40);
  checkOneOf(fn, 'backend', backend, ['auto', 'js']);
  checkInteger(fn, 'threads', threads, 1, MAX_THREADS);
  const size = roundUp(rows, 128) * roundUp(kSf, 4);
  ARRAYS.tensor(fn, 'sf', sf, 'u8', 'rows*kSf', rows * kSf);
  const out = given ?? newArray(fn, 'out', Uint8Array, 'roundUp(rows, 128)*roundUp(kSf, 4)', size);
  ARRAYS.tensor(fn, 'out', out, 'u8', 'roundUp(rows, 128)*roundUp(kSf, 4)', size);
  ARRAYS.apart(fn, ARRAYS.place('out', out, size), ARRAYS.place('sf', sf, rows * kSf));
  const addon = backend === 'js' ? undefined : nativeSwizzle();
  if (addon) addon.swizzle128x4(threads, sf, rows, kSf, out);
  else swizzleJs(sf, rows, kSf, out, size);
  return out;
}

/** The rule, scale by scale. */
function swizzleJs(sf: Uint8Array, rows: number, kSf: number, out: Uint8Array, size: number): void {
  const bandBytes = 128 * roundUp(kSf, 4);
  plainView(out, Uint8Array).fill(0, 0, size);
  for (let m = 0; m < rows; m++) {
    const base = Math.floor(m / 128) * bandBytes + (m % 32) * 16 + Math.floor((m % 128) / 32) * 4;
    for (let k = 0; k < kSf; k++) out[base + (k >> 2) * 512 + (k & 3)] = sf[m * kSf + k]!;
  }
}
