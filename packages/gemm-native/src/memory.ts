import { KindError } from '@megamoe/core';
import { loadGemmAddon } from './binding';

/** Bytes that are looked at together: an array of all bytes of a large array of floats can be longer than arrays are. */
const PART = 2 ** 30;

/** What the addon has for this; native/bindings/memory.cc is the other side. */
interface MemoryAddon {
  adviseHugePages(bytes: Uint8Array): void;
}

/** Fewer bytes are not worth the call: a step walks through them in no time. */
const LARGE = 8 << 20;

/**
 * Asks the system to keep an array in pages of 2 MiB instead of 4 KiB, for arrays of many MiB that kernels walk through in every step:
 * address translation costs less, and so does the first touch. Call it before the array is written. Contents do not change. It does
 * nothing for less than 8 MiB, without the addon, or where the system has no such pages (Linux has them, unless `transparent_hugepage` is
 * `never`).
 * @throws KindError unless `array` is a typed array
 */
export function adviseHugePages(array: ArrayBufferView): void {
  if (!ArrayBuffer.isView(array)) throw new KindError('adviseHugePages: "array" must be a typed array');
  if (array.byteLength < LARGE) return;
  const addon = loadGemmAddon().addon as MemoryAddon | undefined;
  const { buffer, byteOffset, byteLength } = array;
  for (let at = 0; at < byteLength; at += PART)
    addon?.adviseHugePages(new Uint8Array(buffer, byteOffset + at, Math.min(PART, byteLength - at)));
}
