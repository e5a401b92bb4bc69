import type { CompressorHandle, Ops, RopeHandle, SequenceStateHandle, Tensor, WeightSource } from '@megamoe/model';
import { FP8_TILE, matrixRows, type LinearTensor, type MatrixTensor } from '@megamoe/checkpoint';
import { decodeBf16, E4M3_VALUES } from '@megamoe/core';
import { dequantizeMxfp4, dequantizeNvfp4 } from '@megamoe/reference';
import type { OpAt } from './recorder';

type LinearSource = Parameters<Ops['packLinear']>[0];
type ExpertsSource = Parameters<Ops['packExperts']>[0];
type ReadRows = NonNullable<WeightSource['linearRows']>;
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
  private last: string | undefined;
  expertScales?: NonNullable<WeightSource['expertScales']>;
  expertE8m0?: NonNullable<WeightSource['expertE8m0']>;

  constructor(private readonly inner: WeightSource) {
    if (inner.expertScales) this.expertScales = inner.expertScales.bind(inner);
    if (inner.expertE8m0) this.expertE8m0 = inner.expertE8m0.bind(inner);
  }

  get config(): WeightSource['config'] {
    return this.inner.config;
  }

  /** The name asked for last, once. */
  taken(): string | undefined {
    const name = this.last;
    this.last = undefined;
    return name;
  }

  linear(module: string, n: number, k: number): LinearTensor {
    this.last = module;
    return this.inner.linear(module, n, k);
  }

  linearRows(...[module, n, k, row0, rows, buffers]: Parameters<ReadRows>): LinearTensor {
    this.last = module;
    const { inner } = this;
    return inner.linearRows?.(module, n, k, row0, rows, buffers) ?? matrixRows(inner.linear(module, n, k), row0, rows);
  }

  expert(...args: Parameters<WeightSource['expert']>): ReturnType<WeightSource['expert']> {
    this.last = `layers.${args[0]}.ffn.experts.${args[2]}`;
    return this.inner.expert(...args);
  }

  vector(name: string, length: number): Float32Array {
    this.last = name;
    return this.inner.vector(name, length);
  }

  ints(name: string, shape: readonly number[]): Int32Array {
    this.last = name;
    return this.inner.ints(name, shape);
  }
}

/** `layers.3.attn.wq_a` -> layer 3, `attn.wq_a`. Weights that share an operation get one name. */
export function opOf(name: string): OpAt {
  const match = /^layers\.(\d+)\.(.*)$/.exec(name);
  const short = (match ? match[2]! : name)
    .replace(/\.weight$/, '')
    .replace(/^ffn\.shared_experts\.w[13]$/, 'ffn.shared.w13')
    .replace(/^ffn\.shared_experts\./, 'ffn.shared.')
    .replace(/^ffn\.experts\.w[13]$/, 'ffn.w13')
    .replace(/^ffn\.experts\.w2$/, 'ffn.w2')
    .replace(/compressor\.norm$/, 'compressor.pool')
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
      const name = this.source.taken();
      if (name !== undefined) this.names.set(made, opOf(name));
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

  /** Rows `[row0, row0 + rows)` of a dense weight as numbers. */
  linearRows(w: LinearWeight, row0: number, rows: number): Float64Array {
    const source = this.linears.get(w)!;
    const { n, k } = source;
    if (source.dtype === 'nvfp4') {
      const out = new Float64Array(rows * k);
      const { parts = 1, weightGlobalDecodeScale: scales } = source;
      const { codes, sf } = this.nvfp4Rows(w, row0, rows);
      for (let r = 0; r < rows; r++) {
        const scale = scales[Math.floor((((row0 + r) % n) * parts) / n)]!;
        const one = {
          codes: codes.subarray((r * k) / 2, ((r + 1) * k) / 2),
          sf: sf.subarray((r * k) / 16, ((r + 1) * k) / 16),
        };
        out.set(dequantizeNvfp4(one, { m: 1, k, globalDecodeScale: scale }), r * k);
      }
      return out;
    }
    if (source.dtype === 'fp8') {
      const tiles = Math.ceil(k / FP8_TILE);
      if (typeof source.data === 'function') return fp8Values(source.data(row0, rows), k);
      const { codes, scales } = source.data;
      const part = { codes: codes.subarray(row0 * k, (row0 + rows) * k), scales: scales.subarray(row0 * tiles) };
      return fp8Values(part, k);
    }
    const { data } = source;
    return numbersOf(typeof data === 'function' ? data(row0, rows) : data.subarray(row0 * k, (row0 + rows) * k));
  }

  /** Rows of a dense NVFP4 weight as they are stored. */
  nvfp4Rows(w: LinearWeight, row0: number, rows: number): { codes: Uint8Array; sf: Uint8Array } {
    const source = this.linears.get(w)!;
    if (source.dtype !== 'nvfp4') throw new Error('only NVFP4 weights have codes'); // linearW4A4 is for them alone
    const { data, k } = source;
    if (typeof data === 'function') return data(row0, rows);
    return {
      codes: data.codes.subarray((row0 * k) / 2, ((row0 + rows) * k) / 2),
      sf: data.sf.subarray((row0 * k) / 16, ((row0 + rows) * k) / 16),
    };
  }
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
  if (t.format !== 'fp8') return numbersOf(t.data);
  return fp8Values(t, k);
}

/** FP8 rows as numbers: each row has the scales of its own tiles beside it. */
export function fp8Values({ codes, scales }: { codes: Uint8Array; scales: Float32Array }, k: number): Float64Array {
  const tiles = Math.ceil(k / FP8_TILE);
  const out = new Float64Array(codes.length);
  for (let i = 0; i < out.length; i++) {
    out[i] = E4M3_VALUES[codes[i]!]! * scales[Math.floor(i / k) * tiles + Math.floor((i % k) / FP8_TILE)]!;
  }
  return out;
}
