import type { CompressorHandle, Ops, RopeHandle, SequenceStateHandle, Tensor, WeightSource } from '@megamoe/model';
import { FP8_TILE, matrixRows, type LinearTensor, type MatrixTensor } from '@megamoe/checkpoint';
import { decodeBf16, E4M3_VALUES } from '@megamoe/core';
import { dequantizeMxfp4, dequantizeNvfp4 } from '@megamoe/reference';
import type { OpAt } from './recorder';

type LinearSource = Parameters<Ops['packLinear']>[0];
type ExpertsSource = Parameters<Ops['packExperts']>[0];
/** Packed weights, by identity. */
export type LinearWeight = ReturnType<Ops['packLinear']>;
/** Packed expert weights, by identity. */
export type ExpertsWeight = ReturnType<Ops['packExperts']>;
/** Rotary frequencies, as asked for. */
export type RopeSpec = Parameters<Ops['createRope']>[0];
/** What a sequence state was made from. */
export type StateSpec = Parameters<Ops['createState']>[0];

/**
 * A weight source that remembers what was asked of it. What is packed next was made of that, which is how packed weights get their
 * names without every layer of the model carrying them.
 */
export class NamedSource implements WeightSource {
  private asked: string[] = [];

  constructor(private readonly inner: WeightSource) {}

  get config(): WeightSource['config'] {
    return this.inner.config;
  }

  private note(name: string): void {
    if (!this.asked.includes(name)) this.asked.push(name);
  }

  /** Names asked for since the last call. */
  taken(): string[] {
    const names = this.asked;
    this.asked = [];
    return names;
  }

  linear(module: string, n: number, k: number): LinearTensor {
    this.note(module);
    return this.inner.linear(module, n, k);
  }

  linearRows(module: string, n: number, k: number, row0: number, rows: number): LinearTensor {
    this.note(module);
    const { inner } = this;
    return inner.linearRows?.(module, n, k, row0, rows) ?? matrixRows(inner.linear(module, n, k), row0, rows);
  }

  expert(layer: number, expert: number, matrix: 'w1' | 'w2' | 'w3'): ReturnType<WeightSource['expert']> {
    this.note(`layers.${layer}.ffn.experts.${matrix}`);
    return this.inner.expert(layer, expert, matrix);
  }

  vector(name: string, length: number): Float32Array {
    this.note(name);
    return this.inner.vector(name, length);
  }

  ints(name: string, shape: readonly number[]): Int32Array {
    this.note(name);
    return this.inner.ints(name, shape);
  }
}

/** `layers.3.attn.wq_a` -> layer 3, `attn.wq_a`. Weights that share an operation get one name. */
export function opOf(names: readonly string[]): OpAt {
  const match = /^layers\.(\d+)\.(.*)$/.exec(names[0] ?? '');
  const short = (match ? match[2]! : (names[0] ?? 'unnamed'))
    .replace(/\.weight$/, '')
    .replace(/^ffn\.shared_experts\.w1$/, 'ffn.shared.w13')
    .replace(/^ffn\.shared_experts\./, 'ffn.shared.')
    .replace(/^ffn\.experts\.w1$/, 'ffn.w13')
    .replace(/^ffn\.experts\.w2$/, 'ffn.w2')
    .replace(/\.ape$/, '.pool')
    .replace(/_(fn|base|scale)$/, '');
  return { layer: match ? Number(match[1]) : null, op: short };
}

/** Everything that was packed, by what the backend made of it. */
export class Registry {
  readonly names = new Map<object, OpAt>();
  readonly linears = new Map<LinearWeight, LinearSource>();
  readonly experts = new Map<ExpertsWeight, ExpertsSource>();
  readonly compressors = new Map<CompressorHandle, { ape: Float32Array; norm: Float32Array }>();
  readonly ropes = new Map<RopeHandle, RopeSpec>();
  readonly states = new Map<SequenceStateHandle, StateSpec>();

  constructor(private readonly source: NamedSource) {}

  /** The operations that pack, noting what from. */
  packing(
    inner: Ops,
  ): Pick<Ops, 'packLinear' | 'packExperts' | 'packCompressor' | 'createRope' | 'createState' | 'tensor'> {
    const named = <T extends object>(made: T): T => {
      const names = this.source.taken();
      if (names.length > 0) this.names.set(made, opOf(names));
      return made;
    };
    return {
      packLinear: (source) => {
        const w = inner.packLinear(source);
        this.linears.set(w, source);
        return named(w);
      },
      packExperts: (source) => {
        const w = inner.packExperts(source);
        this.experts.set(w, source);
        return named(w);
      },
      packCompressor: (ape, norm) => {
        const handle = inner.packCompressor(ape, norm);
        this.compressors.set(handle, { ape: ape.slice(), norm: norm.slice() });
        return named(handle);
      },
      createRope: (o) => {
        const rope = inner.createRope(o);
        this.ropes.set(rope, o);
        return rope;
      },
      createState: (spec) => {
        const state = inner.createState(spec);
        this.states.set(state, spec);
        return state;
      },
      tensor: (data): Tensor => named(inner.tensor(data)),
    };
  }

  /** Rows `[row0, row0 + rows)` of a dense weight as numbers; FP8 rounded to float32, as a table gives it out. */
  linearRows(w: LinearWeight, row0: number, rows: number): Float64Array {
    const source = this.linears.get(w)!;
    const { k } = source;
    if (source.dtype === 'nvfp4') {
      const { n, parts = 1, data, weightGlobalDecodeScale } = source;
      const [from, count] = typeof data === 'function' ? [0, rows] : [row0, rows];
      const part = typeof data === 'function' ? data(row0, rows) : data;
      const scaleOf = (row: number): number => weightGlobalDecodeScale[Math.floor(((row % n) * parts) / n)]!;
      return dequantizeNvfp4(
        {
          codes: part.codes.subarray((from * k) / 2, ((from + count) * k) / 2),
          sf: part.sf.subarray((from * k) / 16, ((from + count) * k) / 16),
        },
        { m: rows, k, globalDecodeScale: Float64Array.from({ length: rows }, (_, r) => scaleOf(row0 + r)) },
      );
    }
    if (source.dtype === 'fp8') {
      const { data } = source;
      if (typeof data === 'function') return fp8Values(data(row0, rows), k).map(Math.fround);
      return fp8Values(data, k)
        .subarray(row0 * k, (row0 + rows) * k)
        .map(Math.fround);
    }
    const { data } = source;
    return numbersOf(typeof data === 'function' ? data(row0, rows) : data.subarray(row0 * k, (row0 + rows) * k));
  }
}

/** FP8 rows of width k as numbers, exact: each row has the scales of its own tiles. */
export function fp8Values({ codes, scales }: { codes: Uint8Array; scales: Float32Array }, k: number): Float64Array {
  const tiles = Math.ceil(k / FP8_TILE);
  return Float64Array.from(codes, (code, i) => {
    return E4M3_VALUES[code]! * scales[Math.floor(i / k) * tiles + Math.floor((i % k) / FP8_TILE)]!;
  });
}

/** Float32 values, or BF16 bits decoded. */
export function numbersOf(data: Float32Array | Uint16Array): Float64Array {
  if (!(data instanceof Uint16Array)) return new Float64Array(data);
  const out = new Float64Array(data.length); // a loop: `from` with a function is ten times slower
  for (let i = 0; i < data.length; i++) out[i] = decodeBf16(data[i]!);
  return out;
}

/** A matrix of any stored format as numbers, decoded by the reference: exact. */
export function matrixValues(t: MatrixTensor): Float64Array {
  const { n, k } = t;
  if (t.format === 'nvfp4') return dequantizeNvfp4(t, { m: n, k, globalDecodeScale: t.weightGlobalDecodeScale });
  if (t.format === 'mxfp4') return dequantizeMxfp4(t, { n, k });
  return t.format === 'fp8' ? fp8Values(t, k) : numbersOf(t.data);
}
