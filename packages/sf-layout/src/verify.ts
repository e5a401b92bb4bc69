import { checkCapacity, checkInteger, checkKind, checkObject, describe, KindError } from '@megamoe/core';
import { coordinateOf, offsetOf, takeGeometry } from './geometry';
import type { SfCoordinate, SfGeometry } from './geometry';
import { checkStrided, takeStrides } from './swizzle';
import type { SfStrides } from './swizzle';

/** The first byte that is wrong. */
export interface SfMismatch {
  /**
   * - `length`: the buffer does not hold `allocationBytes` (`got`, `want` are lengths)
   * - `value`: scale (l, row, kSf) is not at its `offset`
   * - `padding`: the padding byte at `offset` is not 0
   * - `round-trip`: unswizzling did not give scale (l, row, kSf) back
   */
  readonly kind: 'length' | 'value' | 'padding' | 'round-trip';
  readonly l: number;
  readonly row: number;
  readonly kSf: number;
  /** Byte offset in the swizzled buffer where the scale (or the zero) belongs. */
  readonly offset: number;
  readonly got: number;
  readonly want: number;
  /** Which source scale stands at `offset` instead, where that is known; `undefined` for none. */
  readonly holds?: Omit<SfCoordinate, 'padding'> | undefined;
  /** Offset at which the wanted scale stands instead, where that is known; `undefined` for nowhere. */
  readonly foundAt?: number | undefined;
  /** All of it in one line. */
  readonly message: string;
}

/**
 * Compares a swizzled buffer with its linear source: every scale at its offset in `[l][row][kSf]` order, then every padding
 * byte zero. Gives the first mismatch, or `undefined`. Use it with random scales, never with ones: a wrong layout passes on
 * those. Throws `ShapeError` when an array is too short, `KindError`.
 * @param sfSwizzled [allocationBytes] u8; may be longer
 * @param sf         linear scales, at `strides` (row-major `[l, rows, kSf]` when left out)
 */
export function checkSwizzled(
  sfSwizzled: Uint8Array,
  sf: Uint8Array,
  givenGeometry: SfGeometry,
  given?: SfStrides,
): SfMismatch | undefined {
  const geometry = takeGeometry('checkSwizzled', givenGeometry);
  const strides = takeStrides('checkSwizzled', given, geometry);
  checkStrided('checkSwizzled', sf, geometry, strides);
  checkKind('checkSwizzled', 'sfSwizzled', sfSwizzled, Uint8Array);
  checkCapacity('checkSwizzled', 'sfSwizzled', sfSwizzled, 'allocationBytes', geometry.allocationBytes);
  for (let l = 0; l < geometry.l; l++) {
    for (let row = 0; row < geometry.rows; row++) {
      for (let kSf = 0; kSf < geometry.kSf; kSf++) {
        const offset = offsetOf(geometry, row, kSf, l);
        const want = sf[l * strides.l + row * strides.row + kSf * strides.kSf]!;
        const got = sfSwizzled[offset]!;
        if (got !== want) return mismatch({ kind: 'value', l, row, kSf, offset, got, want });
      }
    }
  }
  if (geometry.rowsPad === geometry.rows && geometry.kSfPad === geometry.kSf) return undefined;
  for (let offset = 0; offset < geometry.allocationBytes; offset++) {
    const got = sfSwizzled[offset]!;
    if (got === 0) continue;
    const { l, row, kSf, padding } = coordinateOf(geometry, offset);
    if (padding) return mismatch({ kind: 'padding', l, row, kSf, offset, got, want: 0 });
  }
  return undefined;
}

/** A function under test: writes (or returns) `sf` in the layout of `geometry`. */
export type Swizzler = (sf: Uint8Array, geometry: SfGeometry) => Uint8Array;

/** Options of {@link verifySwizzle}. */
export interface VerifyOptions {
  /** Seed of the random scales; default 1. */
  readonly seed?: number;
  /** Its inverse, to check the round trip too: gives row-major `[l, rows, kSf]`. */
  readonly unswizzle?: Swizzler;
}

/**
 * Runs a swizzle (a kernel on a device, say) on random scales and on scales that spell their own index, and compares with the
 * layout. Since the second kind tells every scale apart, a pass is proof for this geometry, and a failure says which scale
 * stands in the wrong place and where the right one went. Gives the first mismatch, or `undefined`.
 */
export function verifySwizzle(
  swizzle: Swizzler,
  givenGeometry: SfGeometry,
  options: VerifyOptions = {},
): SfMismatch | undefined {
  checkObject('verifySwizzle', 'options', options);
  const geometry = takeGeometry('verifySwizzle', givenGeometry);
  const { seed = 1, unswizzle } = options;
  for (const [arg, f] of Object.entries({ swizzle, ...(unswizzle !== undefined && { unswizzle }) }))
    if (typeof f !== 'function') throw new KindError(`verifySwizzle: "${arg}" must be a function, got ${describe(f)}`);
  checkInteger('verifySwizzle', 'seed', seed, 0);
  const count = geometry.l * geometry.rows * geometry.kSf;
  const sf = randomScales(count, seed);
  const swizzled = swizzle(sf, geometry);
  checkKind('verifySwizzle', 'swizzle(...)', swizzled, Uint8Array);
  if (swizzled.length < geometry.allocationBytes) {
    const { length } = swizzled;
    return mismatch({
      kind: 'length',
      l: 0,
      row: 0,
      kSf: 0,
      offset: length,
      got: length,
      want: geometry.allocationBytes,
    });
  }
  const random = checkSwizzled(swizzled, sf, geometry);
  if (!random && unswizzle) {
    const back = unswizzle(swizzled, geometry);
    checkKind('verifySwizzle', 'unswizzle(...)', back, Uint8Array);
    for (let i = 0; i < count; i++) {
      if (back[i] === sf[i]) continue;
      const at = sourceCoordinate(i, geometry);
      const offset = offsetOf(geometry, at.row, at.kSf, at.l);
      return mismatch({ kind: 'round-trip', ...at, offset, got: back[i] ?? -1, want: sf[i]! });
    }
  }
  const sources = new Float64Array(geometry.allocationBytes); // index of the source scale at each offset, NaN where there is none
  let indexed: SfMismatch | undefined;
  for (let digit = 1; digit < Math.max(count, 2); digit *= 255) {
    const digits = Uint8Array.from({ length: count }, (_, i) => 1 + (Math.floor(i / digit) % 255)); // never 0, which padding has
    const probe = swizzle(digits, geometry);
    checkKind('verifySwizzle', 'swizzle(...)', probe, Uint8Array);
    indexed ??= checkSwizzled(probe, digits, geometry);
    for (let o = 0; o < sources.length; o++)
      sources[o] = sources[o]! + (probe[o] === 0 ? NaN : (probe[o]! - 1) * digit);
  }
  const first = random ?? indexed;
  if (!first) return undefined;
  const held = sources[first.offset]!;
  const wanted = (first.l * geometry.rows + first.row) * geometry.kSf + first.kSf;
  const foundAt = first.kind === 'value' ? sources.indexOf(wanted) : -1;
  return mismatch({
    ...first,
    holds: held < count ? sourceCoordinate(held, geometry) : undefined,
    foundAt: foundAt < 0 ? undefined : foundAt,
  });
}

function sourceCoordinate(i: number, g: SfGeometry): Omit<SfCoordinate, 'padding'> {
  const row = Math.floor(i / g.kSf);
  return { l: Math.floor(row / g.rows), row: row % g.rows, kSf: i % g.kSf };
}

/** Bytes in [1, 255], different for every seed (xorshift32). */
function randomScales(count: number, seed: number): Uint8Array {
  let x = (Math.imul(seed, 0x9e3779b9) ^ 0x5bd1e995) | 0 || 1;
  return Uint8Array.from({ length: count }, () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return 1 + ((x >>> 0) % 255);
  });
}

function mismatch(m: Omit<SfMismatch, 'message'>): SfMismatch {
  const where = `scale (l=${m.l}, row=${m.row}, kSf=${m.kSf})`;
  const holds = m.holds ? `; that is scale (l=${m.holds.l}, row=${m.holds.row}, kSf=${m.holds.kSf})` : '';
  const found = m.foundAt === undefined ? '' : `; the wanted one stands at offset ${m.foundAt}`;
  const text = {
    length: `buffer must have at least ${m.want} bytes, got ${m.got}`,
    value: `${where} belongs at offset ${m.offset}: want ${m.want}, got ${m.got}${holds}${found}`,
    padding: `padding byte at offset ${m.offset} (l=${m.l}, row=${m.row}, kSf=${m.kSf}) must be 0, got ${m.got}${holds}`,
    'round-trip': `${where} did not come back: want ${m.want}, got ${m.got}; it is right at offset ${m.offset}`,
  };
  return { ...m, message: text[m.kind] };
}
