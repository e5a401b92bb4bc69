import { checkKind, checkLength, describe, KindError, plainView, ShapeError, ValueError } from '@megamoe/core';
import {
  filledRows,
  firstLiveRow,
  PAGES,
  SequencePages,
  type CachePart,
  type KvDtype,
  type LayerSpec,
  type PageKind,
} from '@megamoe/ops';
import type { KvMemory } from './kv';

/** A layer's part of a saved sequence: what later tokens need, rows oldest first. */
export interface SavedLayer {
  readonly ratio: 0 | 4 | 128;
  readonly window: number;
  readonly headDim: number;
  /** Ratio 4 only. */
  readonly indexHeadDim?: number;
  /** How keys are held; left out: in float32. */
  readonly kv?: KvDtype;
  /** Rows of each part, see {@link CachePart}: float32, and keys that are held in BF16 as bit patterns. */
  readonly parts: Readonly<Partial<Record<CachePart, SavedRows>>>;
}

/** Rows of a part of a layer. */
export type SavedRows = Float32Array | Uint16Array;

/** What makes arrays of them. */
const ROWS = { f32: Float32Array, bf16: Uint16Array } as const;

/** How a part of a saved layer is held. */
export function dtypeOf(part: CachePart, kv: KvDtype | undefined): KvDtype {
  return part === 'window' || part === 'entries' ? (kv ?? 'f32') : 'f32';
}

/** What `Sequence.save` gives: plain data that can be structured-cloned. */
export interface SavedSequence {
  readonly format: 'megamoe-sequence';
  readonly version: 2;
  /** Fingerprint of the model that it is of; one without is taken by every model of its shape. */
  readonly model?: string | undefined;
  /** The backend that computed it, with what of its settings changes bits; one without is taken by every backend. */
  readonly backend?: string | undefined;
  readonly tokenIds: Int32Array;
  /** The shortest length that it can be cut back to; left out, what only tokens before its end need is not there. */
  readonly shortest?: number | undefined;
  readonly layers: readonly SavedLayer[];
}

interface Part {
  readonly part: CachePart;
  readonly kind: PageKind;
  readonly width: number;
}

/** The backend of a memory as saved sequences name it: another one's sums have other bits. */
export const savedBackend = ({ backend }: Pick<KvMemory, 'backend'>): string =>
  backend.w4a4Math === 'fast' ? `${backend.name} with fast math` : backend.name;

/** How a memory holds keys. */
export const kvOf = ({ layers }: Pick<KvMemory, 'layers'>): KvDtype => layers[0]?.kv ?? 'f32';

/** @throws ValueError for a sequence that another backend computed, or whose keys are held otherwise, naming both */
export function checkOrigin(fn: string, memory: KvMemory, backend: unknown, layers: unknown): void {
  const own = savedBackend(memory);
  if (backend !== undefined && backend !== own) {
    throw new ValueError(`${fn}: "saved" was computed by backend ${describe(backend)}, this model is on ${own}`);
  }
  const kv = (Array.isArray(layers) ? (layers[0] as Partial<SavedLayer> | undefined)?.kv : undefined) ?? 'f32';
  if (kv !== kvOf(memory)) {
    throw new ValueError(`${fn}: "saved" holds keys in ${describe(kv)}, this model holds them in ${kvOf(memory)}`);
  }
}

/** The parts of a layer, the pages that they lie in, and the elements of their rows. */
function partsOf({ ratio, headDim, indexHeadDim = 0 }: LayerSpec): Part[] {
  const parts: Part[] = [{ part: 'window', kind: 'window', width: headDim }];
  if (ratio === 0) return parts;
  const [open, entries] = ratio === 4 ? (['open4', 'entries4'] as const) : (['open128', 'entries128'] as const);
  const wide = ratio === 4 ? 2 : 1;
  parts.push({ part: 'entries', kind: entries, width: headDim });
  for (const part of ['openKv', 'openGate'] as const) parts.push({ part, kind: open, width: wide * headDim });
  if (ratio === 128) return parts;
  parts.push({ part: 'indexEntries', kind: entries, width: indexHeadDim });
  for (const part of ['indexOpenKv', 'indexOpenGate'] as const) {
    parts.push({ part, kind: open, width: wide * indexHeadDim });
  }
  return parts;
}

/** Calls `work` for each run of rows `[from, from + n)` of a kind that lies in one page, with its first row in memory. */
function eachRun(
  kind: PageKind,
  pages: SequencePages,
  from: number,
  end: number,
  work: (memoryRow: number, from: number, n: number) => void,
): void {
  const { rows } = PAGES[kind];
  const { first, ids } = pages.list(kind);
  for (let w = from; w < end;) {
    const n = Math.min(end - w, rows - (w % rows));
    work(ids[Math.floor(w / rows) - first]! * rows + (w % rows), w, n);
    w += n;
  }
}

/** How far a saved sequence reaches. */
interface Reach {
  readonly length: number;
  readonly shortest: number;
}

/** Rows that tokens at `shortest` and later need. */
function liveRows(kind: PageKind, { length, shortest }: Reach, window: number): [from: number, end: number] {
  return [firstLiveRow(kind, shortest, window), filledRows(kind, length)];
}

/** Copies what later tokens of a sequence need, and those that it can be cut back by at any time. */
export function savePages({ backend, cache, layers }: KvMemory, pages: SequencePages, shortest: number): SavedLayer[] {
  const reach = { length: pages.length, shortest };
  return layers.map((spec, layer) => {
    const parts: Partial<Record<CachePart, SavedRows>> = {};
    for (const { part, kind, width } of partsOf(spec)) {
      const [first, last] = liveRows(kind, reach, spec.window);
      const out = new ROWS[dtypeOf(part, spec.kv)]((last - first) * width);
      eachRun(kind, pages, first, last, (at, from, n) =>
        backend.download(cache.part(layer, part), at * width, n * width, out, (from - first) * width),
      );
      parts[part] = out;
    }
    return { ...spec, parts };
  });
}

/** Pages of a new sequence with what {@link savePages} copied. Nothing is held when it throws. */
export function restorePages(
  fn: string,
  { backend, cache, layers, pool }: KvMemory,
  saved: readonly SavedLayer[],
  reach: Reach,
): SequencePages {
  if (!Array.isArray(saved)) throw new KindError(`${fn}: "saved.layers" must be an array, got ${typeof saved}`);
  checkLength(fn, 'saved.layers', saved, 'layers', layers.length);
  const read = layers.map((spec, i) => readLayer(fn, `saved.layers[${i}]`, spec, saved[i]));
  const own = layers.map((spec, i) => takeParts(fn, `saved.layers[${i}]`, spec, read[i]!, reach));
  const pages = new SequencePages(pool);
  try {
    pages.open(reach.length, reach.shortest);
    layers.forEach((spec, layer) => {
      for (const { part, kind, width } of partsOf(spec)) {
        const [first, last] = liveRows(kind, reach, spec.window);
        const data = own[layer]![part]!;
        eachRun(kind, pages, first, last, (at, from, n) =>
          backend.upload(cache.part(layer, part), at * width, data, (from - first) * width, n * width),
        );
      }
    });
    return pages;
  } catch (error) {
    pages.dispose();
    throw error;
  }
}

/** The parts of a saved layer of this shape, each read once and not looked at yet. */
function readLayer(fn: string, at: string, spec: LayerSpec, saved: SavedLayer | undefined): SavedLayer['parts'] {
  const parts = saved?.parts;
  if (typeof parts !== 'object' || parts === null) {
    throw new KindError(`${fn}: "${at}" must be a saved layer, an object with "parts"`);
  }
  for (const name of ['ratio', 'window', 'headDim', 'indexHeadDim', 'kv'] as const) {
    const got = saved![name];
    if (got !== spec[name]) {
      throw new ShapeError(`${fn}: "${at}.${name}" must be ${String(spec[name])}, got ${describe(got)}`);
    }
  }
  return Object.fromEntries(partsOf(spec).map(({ part }) => [part, parts[part]]));
}

/** Plain views of them, of the lengths that a sequence that reaches so far has. */
function takeParts(
  fn: string,
  at: string,
  spec: LayerSpec,
  parts: SavedLayer['parts'],
  reach: Reach,
): SavedLayer['parts'] {
  const own: Partial<Record<CachePart, SavedRows>> = {};
  for (const { part, kind, width } of partsOf(spec)) {
    const [first, last] = liveRows(kind, reach, spec.window);
    const data: unknown = parts[part];
    const Rows = ROWS[dtypeOf(part, spec.kv)];
    checkKind<SavedRows>(fn, `${at}.parts.${part}`, data, Rows);
    const rows = plainView<SavedRows>(data, Rows);
    checkLength(fn, `${at}.parts.${part}`, rows, 'rows*width', (last - first) * width);
    own[part] = rows;
  }
  return own;
}
