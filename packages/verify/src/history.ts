/** Rows that an operation was given for one part of a layer's memory, from position 0 on. */
export class Rows {
  readonly #rows: Float32Array[];

  constructor(
    readonly width: number,
    rows: readonly Float32Array[] = [],
  ) {
    this.#rows = [...rows];
  }

  get length(): number {
    return this.#rows.length;
  }

  /** Adds rows `[row0, row0 + n)` of `data`. */
  append(data: Float32Array, row0: number, n: number): void {
    const { width } = this;
    for (let i = row0; i < row0 + n; i++) this.#rows.push(data.slice(i * width, (i + 1) * width));
  }

  /** Rows `[from, length)`, one after the other. */
  flat(from = 0): Float32Array {
    const out = new Float32Array((this.length - from) * this.width);
    for (let i = from; i < this.length; i++) out.set(this.#rows[i]!, (i - from) * this.width);
    return out;
  }

  clone(): Rows {
    return new Rows(this.width, this.#rows);
  }
}

/** What a compressor was given, and the entries that it was last seen to have. */
export interface CompressorHistory {
  readonly kv: Rows;
  readonly gate: Rows;
  entries: Float32Array;
}

/** What one layer was given for a sequence. */
export interface LayerHistory {
  readonly keys: Rows;
  /** Keys from position `from` on, as they were last seen in the window. */
  window: { readonly from: number; readonly keys: Float32Array };
  readonly compressors: Map<'layer' | 'indexer', CompressorHistory>;
}

function newLayer(headDim: number): LayerHistory {
  return { keys: new Rows(headDim), window: { from: 0, keys: new Float32Array(0) }, compressors: new Map() };
}

/** What every layer was given for one sequence: what its memory has to hold. */
export class SequenceHistory {
  readonly #layers = new Map<number, LayerHistory>();

  layer(layer: number, headDim: number): LayerHistory {
    let h = this.#layers.get(layer);
    if (!h) this.#layers.set(layer, (h = newLayer(headDim)));
    return h;
  }

  compressor(layer: LayerHistory, of: 'layer' | 'indexer', width: number): CompressorHistory {
    let c = layer.compressors.get(of);
    if (!c) {
      c = { kv: new Rows(width), gate: new Rows(width), entries: new Float32Array(0) };
      layer.compressors.set(of, c);
    }
    return c;
  }

  /** The history of a sequence that goes its own way from here. */
  clone(): SequenceHistory {
    const copy = new SequenceHistory();
    for (const [layer, { keys, window, compressors }] of this.#layers) {
      const own = [...compressors].map(
        ([of, { kv, gate, entries }]) => [of, { kv: kv.clone(), gate: gate.clone(), entries }] as const,
      );
      copy.#layers.set(layer, { keys: keys.clone(), window, compressors: new Map(own) });
    }
    return copy;
  }
}
