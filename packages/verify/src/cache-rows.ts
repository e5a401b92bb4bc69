import { decodeBf16Array } from '@megamoe/core';
import { PAGES, type Backend, type CachePart, type LayerSpec, type PageKind } from '@megamoe/ops';
import type { Planned } from './registry';

/** The kind of pages that a part of a layer lies in. */
export function pageKindOf(part: CachePart, { ratio }: LayerSpec): PageKind {
  if (part === 'window') return 'window';
  const of = ratio === 4 ? 4 : 128;
  return part === 'entries' || part === 'indexEntries' ? `entries${of}` : `open${of}`;
}

/** Which rows of whose memory. */
export interface CacheRows {
  readonly layer: number;
  readonly part: CachePart;
  /** Number of the sequence in the step. */
  readonly sequence: number;
  readonly from: number;
  readonly end: number;
  /** Elements of a row. */
  readonly width: number;
}

/** Reads rows `[from, end)` of a part of a layer out of the pages of a sequence, one after the other; those in BF16 widened. */
export function readCache(backend: Backend, { rows, cache }: Planned, o: CacheRows): Float32Array {
  const { layer, part, sequence, from, end, width } = o;
  const out = new Float32Array(Math.max(0, end - from) * width);
  const kind = pageKindOf(part, cache.specs[layer]!);
  const page = PAGES[kind].rows;
  for (let w = from; w < end;) {
    const n = Math.min(end - w, page - (w % page)); // up to the end of the page
    const memory = cache.part(layer, part);
    const at = rows.memoryRow(kind, sequence, w) * width;
    if (memory.dtype === 'bf16') {
      const bits = new Uint16Array(n * width);
      backend.download(memory, at, bits.length, bits, 0);
      decodeBf16Array(bits, out.subarray((w - from) * width, (w - from + n) * width));
    } else backend.download(memory, at, n * width, out, (w - from) * width);
    w += n;
  }
  return out;
}

/** The tokens of one sequence in a step. */
export interface SequenceRows {
  readonly sequence: number;
  /** Its first row in the step, and how many it has. */
  readonly row0: number;
  readonly n: number;
  /** Position of its first token, and the one after its last. */
  readonly first: number;
  readonly end: number;
}

/** The sequences of a step. */
export function sequencesOf({ rows }: Planned): SequenceRows[] {
  return Array.from({ length: rows.sequences }, (_, sequence) => {
    const row0 = rows.firstRow[sequence]!;
    const n = rows.tokensOf(sequence);
    const first = rows.positions[row0]!;
    return { sequence, row0, n, first, end: first + n };
  });
}

/** ` of sequence 1`; nothing for the first. */
export function ofSequence(sequence: number): string {
  return sequence === 0 ? '' : ` of sequence ${sequence}`;
}
