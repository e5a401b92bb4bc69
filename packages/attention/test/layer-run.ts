import {
  pageKindsOf,
  PagePool,
  SequencePages,
  StepRows,
  type KvCache,
  type LayerSpec,
  type PageKind,
  type Step,
} from '@megamoe/ops';
import { expectBytes, seeded } from '@megamoe/testkit';
import { entryKeys } from '../src/entry-keys';
import type { AttentionKernels } from '../src/index';
import type { Own } from '../src/own';
import type { RowLists } from '../src/plan/row-lists';
import { createRope, type Rope } from '../src/rope';
import type { HostStep } from '../src/step';

/** One attention layer: its shape and weights. */
export interface Layer {
  readonly spec: LayerSpec;
  readonly heads: number;
  readonly indexHeads: number;
  readonly topk: number;
  readonly rope: Rope;
  readonly sinks: Float32Array;
  readonly scale: number;
  readonly compressor: Weights;
  readonly indexer: Weights;
}

/** Weights of a compressor. */
export interface Weights {
  readonly ape: Float32Array;
  readonly norm: Float32Array;
}

/** kv and gate of a compressor for every token. */
export interface Projections {
  readonly kv: Float32Array;
  readonly gate: Float32Array;
}

/** Random inputs of one layer for a whole sequence: what the projections would have given. */
export interface Tokens {
  readonly layer: Layer;
  readonly tokens: number;
  readonly kv: Float32Array;
  readonly q: Float32Array;
  readonly compressor: Projections;
  readonly indexer: Projections;
  readonly indexQ: Float32Array;
  readonly indexWeights: Float32Array;
}

/** What a layer gave for every token. */
export interface Outputs {
  readonly out: Float32Array;
  /** Keys of each query in order: `k` and the position for the window, `e` and the entry. */
  readonly keys: string[][];
}

export const EPS = 1e-6;

const widthOf = (spec: LayerSpec, dim: number): number => (spec.ratio === 4 ? 2 * dim : dim);

/** Seeded weights; the second sink is -Infinity, the third +Infinity. */
export function makeLayer(
  spec: LayerSpec,
  { heads, topk = 0, ropeDim = 4, seed = 1 }: { heads: number; topk?: number; ropeDim?: number; seed?: number },
): Layer {
  const random = seeded(1000 + seed);
  const sinks = random.floats(heads);
  if (heads > 1) sinks[1] = -Infinity;
  if (heads > 2) sinks[2] = Infinity;
  const weights = (dim: number): Weights => ({
    ape: random.floats(spec.ratio * widthOf(spec, dim)),
    norm: random.floats(dim),
  });
  return {
    spec,
    heads,
    indexHeads: 3,
    topk,
    rope: createRope({ ropeDim, theta: 100 }),
    sinks,
    scale: 1 / Math.sqrt(spec.headDim),
    compressor: weights(spec.headDim),
    indexer: weights(spec.indexHeadDim ?? 1),
  };
}

/** Seeded inputs of a layer. */
export function makeTokens(layer: Layer, tokens: number, seed: number): Tokens {
  const random = seeded(seed);
  const { spec, heads, indexHeads } = layer;
  const indexDim = spec.indexHeadDim ?? 1;
  const project = (dim: number): Projections => ({
    kv: random.floats(tokens * widthOf(spec, dim)),
    gate: random.floats(tokens * widthOf(spec, dim), 2),
  });
  return {
    layer,
    tokens,
    kv: random.floats(tokens * spec.headDim),
    q: random.floats(tokens * heads * spec.headDim, 2),
    compressor: project(spec.headDim),
    indexer: project(indexDim),
    indexQ: random.floats(tokens * indexHeads * indexDim),
    indexWeights: random.floats(tokens * indexHeads),
  };
}

/** A sequence in a {@link Room}: its pages, its inputs and what has come out, layer by layer. */
export class Sequence {
  readonly outputs: readonly Outputs[];

  constructor(
    readonly pages: SequencePages,
    readonly inputs: readonly Tokens[],
  ) {
    this.outputs = inputs.map(({ layer, tokens }) => ({
      out: new Float32Array(tokens * layer.heads * layer.spec.headDim).fill(NaN),
      keys: [],
    }));
  }

  get length(): number {
    return this.pages.length;
  }

  /** The same tokens, pages shared, other inputs from here on if given. */
  clone(inputs = this.inputs): Sequence {
    const copy = new Sequence(this.pages.clone(), inputs);
    copy.outputs.forEach(({ out, keys }, i) => {
      out.set(this.outputs[i]!.out);
      keys.push(...this.outputs[i]!.keys);
    });
    return copy;
  }
}

/** Sequences and their tokens in one step. */
export type Items = readonly (readonly [Sequence, number])[];

/** The memory of some layers, a step, and what runs them. New memory holds NaN. */
export class Room {
  readonly cache: KvCache;
  readonly pool: PagePool;
  readonly rows: StepRows;
  readonly planned: Step;
  readonly #weights: readonly ReturnType<AttentionKernels['packCompressor']>[][];

  constructor(
    readonly kernels: AttentionKernels,
    readonly layers: readonly Layer[],
    maxRows = 600,
  ) {
    const specs = layers.map((layer) => layer.spec);
    this.cache = kernels.createCache(specs);
    const kinds = pageKindsOf(specs);
    this.pool = new PagePool(kinds, specs[0]!.window, {
      grow: (kind, pages) => this.#grow(kind, pages),
      copyPage: (kind, from, to, n) => this.cache.copyPage(kind, from, to, n),
    });
    this.rows = new StepRows(maxRows, kinds);
    this.planned = kernels.createStep(maxRows);
    this.#weights = layers.map(({ compressor: c, indexer: i }) => [
      kernels.packCompressor(c.ape, c.norm),
      kernels.packCompressor(i.ape, i.norm),
    ]);
  }

  #grow(kind: PageKind, pages: number): void {
    const parts = this.#parts(kind);
    const before = parts.map((part) => part().length);
    this.cache.grow(kind, pages);
    parts.forEach((part, i) => part().fill(NaN, before[i]));
  }

  #parts(kind: PageKind): (() => Float32Array)[] {
    const data = (layer: number, part: Parameters<KvCache['part']>[1]) => () =>
      (this.cache.part(layer, part) as unknown as { data: Float32Array }).data;
    return this.layers.flatMap(({ spec: { ratio } }, i) => {
      if (kind === 'window') return [data(i, 'window')];
      if (kind !== `entries${ratio}` && kind !== `open${ratio}`) return [];
      if (kind.startsWith('entries')) return [data(i, 'entries'), ...(ratio === 4 ? [data(i, 'indexEntries')] : [])];
      const own = [data(i, 'openKv'), data(i, 'openGate')];
      return ratio === 4 ? [...own, data(i, 'indexOpenKv'), data(i, 'indexOpenGate')] : own;
    });
  }

  sequence(inputs: readonly Tokens[]): Sequence {
    return new Sequence(new SequencePages(this.pool), inputs);
  }

  /** Reserves, plans, runs all layers and commits. `fails` is asked before each operation; when it says so the step ends there. */
  step(items: Items, fails: (op: string, layer: number) => boolean = () => false): boolean {
    const { kernels, cache, rows, planned } = this;
    for (const [s, n] of items) s.pages.reserve(s.length + n);
    rows.clear();
    for (const [s, n] of items) rows.add(s.pages, new Int32Array(n).fill(7), 0, n);
    kernels.planStep(planned, rows, cache, this.layers[0]!.rope);
    const results = this.layers.map((_, i) => this.#layer(i, items, fails));
    if (results.includes(null)) return false;
    results.forEach((result, layer) => {
      let row = 0;
      for (const [s, n] of items) {
        const { out, keys } = s.outputs[layer]!;
        const width = out.length / s.inputs[layer]!.tokens;
        out.set(result!.out.subarray(row * width, (row + n) * width), s.length * width);
        keys.length = s.length;
        keys.push(...result!.keys.slice(row, row + n));
        row += n;
      }
    });
    for (const [s, n] of items) s.pages.commit(s.length + n);
    return true;
  }

  #layer(layer: number, items: Items, fails: (op: string, layer: number) => boolean): Outputs | null {
    const { kernels, cache, planned: step, rows } = this;
    const { spec, heads, indexHeads, topk, sinks, scale } = this.layers[layer]!;
    const { headDim: d, indexHeadDim: dim = 0, ratio } = spec;
    /** Rows of all sequences in one array, with a row of NaN after them. */
    const gather = (width: number, of: (t: Tokens) => Float32Array): Float32Array => {
      const all = new Float32Array((rows.rows + 1) * width).fill(NaN);
      let at = 0;
      for (const [s, n] of items) {
        all.set(of(s.inputs[layer]!).subarray(s.length * width, (s.length + n) * width), at * width);
        at += n;
      }
      return all;
    };
    const common = { cache, step, layer };
    const [own, indexers] = this.#weights[layer]!;
    const compress = (indexer: boolean, width: number, of: (t: Tokens) => Projections): void =>
      kernels.compress({
        ...common,
        indexer,
        width,
        kv: gather(width, (t) => of(t).kv),
        gate: gather(width, (t) => of(t).gate),
        weights: indexer ? indexers! : own!,
        eps: EPS,
      });
    if (fails('writeWindow', layer)) return null;
    kernels.writeWindow({ ...common, d, kv: gather(d, (t) => t.kv) });
    if (fails('compress', layer)) return null;
    if (ratio !== 0) compress(false, widthOf(spec, d), (t) => t.compressor);
    let selected: Int32Array | null = null;
    if (ratio === 4) {
      compress(true, 2 * dim, (t) => t.indexer);
      if (fails('indexSelect', layer)) return null;
      selected = new Int32Array(rows.rows * topk + 2).fill(-99);
      const q = gather(indexHeads * dim, (t) => t.indexQ);
      const headWeights = gather(indexHeads, (t) => t.indexWeights);
      kernels.indexSelect({ ...common, q, headWeights, heads: indexHeads, dim, topk, selected });
      expectBytes(selected.subarray(rows.rows * topk), Int32Array.of(-99, -99));
    }
    if (fails('attend', layer)) return null;
    const out = new Float32Array(rows.rows * heads * d + 1).fill(NaN);
    const args = {
      ...common,
      q: gather(heads * d, (t) => t.q),
      heads,
      d,
      selected,
      topk,
      sinks,
      softmaxScale: scale,
      out,
    };
    kernels.attend(args);
    expectBytes(out.subarray(out.length - 1), Float32Array.of(NaN));
    return { out, keys: this.#names(args as unknown as Own<'attend'>) };
  }

  /** The keys of each row of the step by name. */
  #names(a: Own<'attend'>): string[][] {
    const { rows } = this;
    const { near } = this.planned as HostStep;
    const far = entryKeys(a);
    const { ratio } = a.cache.specs[a.layer]!;
    return Array.from({ length: rows.rows }, (_, r) => {
      const s = rows.rowSequence[r]!;
      const position = rows.positions[r]!;
      const { first } = rows.pages.get('window')!;
      const windows = new Map<number, string>();
      for (let p = first[s]! * 64; p <= position; p++) windows.set(rows.memoryRow('window', s, p), `k${p}`);
      const entries = new Map<number, string>();
      const visible = ratio === 0 ? 0 : Math.floor((position + 1) / ratio);
      for (let w = 0; w < visible; w++) entries.set(rows.memoryRow(`entries${ratio as 4}`, s, w), `e${w}`);
      return [...named(near, r, windows), ...named(far, r, entries)];
    });
  }
}

function named(lists: RowLists, r: number, names: ReadonlyMap<number, string>): string[] {
  const start = lists.start[r]!;
  return Array.from(lists.index.subarray(start, start + lists.count[r]!), (row) => names.get(row) ?? `row ${row}?`);
}

/** One layer over a whole sequence in the given chunks (repeated until the end). */
export function run(kernels: AttentionKernels, inputs: Tokens, chunks: readonly number[]): Outputs {
  const home = new Room(kernels, [inputs.layer]);
  const s = home.sequence([inputs]);
  for (let i = 0; s.length < inputs.tokens; i++) {
    home.step([[s, Math.min(chunks[i % chunks.length]!, inputs.tokens - s.length)]]);
  }
  return s.outputs[0]!;
}
