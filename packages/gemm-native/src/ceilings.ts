import { checkInteger, checkOneOf, KindError } from '@megamoe/core';
import { MAX_THREADS } from '@megamoe/native-kit';
import { loadGemmAddon } from './binding';

/** Kinds, in the order that the addon numbers them. */
const KINDS = ['read', 'copy', 'max', 'vpdpbusd', 'vdpbf16ps', 'fma'] as const;

/**
 * A limit of the machine. `read`: reading memory. `copy`: memcpy, counted in bytes copied. `max`: the largest of float32 values, as one
 * pass over logits. `vpdpbusd`, `vdpbf16ps`: those instructions at 512 bits. `fma`: float32 multiply-adds of the widest kind here.
 */
export type CeilingKind = (typeof KINDS)[number];

/** How much to do. */
export interface CeilingOptions {
  /** 1 to 256; default 1. */
  readonly threads?: number;
  /** Bytes of one pass of `read`, `copy` and `max`, rounded up to 512; default 64 MiB. */
  readonly bytes?: number;
  /**
   * Memory that passes go round in: each goes on where the last one stopped. Default 256 MiB, more than last-level caches hold, so that
   * bytes are cold; at most `bytes` gives hot ones, and 1 GiB is the limit. `copy` goes from the first half to the second. Kept until the process ends.
   */
  readonly span?: number;
  /** Operations of `vpdpbusd`, `vdpbf16ps` and `fma`, multiplications and additions counted apart; default 2^29. */
  readonly operations?: number;
}

/** What the addon has for this; native/bindings/ceilings.cc is the other side. */
interface CeilingAddon {
  measureCeiling(kind: number, threads: number, amount: number, span: number): number;
}

/**
 * Runs one pass and answers its rate per second: bytes, or operations. One pass is a few milliseconds: alternate it with what is
 * compared to it and take medians of both.
 * @returns undefined where there is no addon, or no such instruction on this processor
 * @throws KindError, ValueError
 */
export function measureCeiling(kind: CeilingKind, options: CeilingOptions = {}): number | undefined {
  const fn = 'measureCeiling';
  checkOneOf(fn, 'kind', kind, KINDS);
  if (typeof options !== 'object' || options === null) throw new KindError(`${fn}: "options" must be an object`);
  const { threads = 1, bytes = 64 * 2 ** 20, span = 256 * 2 ** 20, operations = 2 ** 29 } = options;
  checkInteger(fn, 'threads', threads, 1, MAX_THREADS);
  checkInteger(fn, 'bytes', bytes, 1, 2 ** 40);
  checkInteger(fn, 'span', span, 1, 2 ** 30);
  checkInteger(fn, 'operations', operations, 1, 2 ** 40);
  const addon = loadGemmAddon().addon as CeilingAddon | undefined;
  const memory = kind === 'read' || kind === 'copy' || kind === 'max';
  const rate = addon?.measureCeiling(KINDS.indexOf(kind), threads, memory ? bytes : operations, span);
  return rate === undefined || rate < 0 ? undefined : rate;
}
