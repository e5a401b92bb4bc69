import type {
  Backend,
  CompressorHandle,
  ExpertsSource,
  ExpertsWeight,
  KvCache,
  LinearSource,
  LinearWeight,
  RopeHandle,
  RopeSpec,
  RouterHandle,
  RouteSpec,
  Step,
  StepRows,
} from '@megamoe/ops';
import { decodeRows, type Nvfp4Codes, nvfp4Part } from './decode';

/** Weights of a compressor, as they were packed. */
export interface CompressorSource {
  /** [ratio, width] */
  readonly ape: Float32Array;
  /** [dim] */
  readonly norm: Float32Array;
}

/** What a step was planned for. */
export interface Planned {
  readonly rows: StepRows;
  readonly cache: KvCache;
  readonly rope: RopeHandle;
}

/** What every handle of a backend was made from: the judge's own copy, or the source to read it from again. */
export class Registry {
  readonly routers = new Map<RouterHandle, RouteSpec>();
  readonly steps = new Map<Step, Planned>();
  readonly #linears = new Map<LinearWeight, LinearSource>();
  readonly #experts = new Map<ExpertsWeight, ExpertsSource>();
  readonly #compressors = new Map<CompressorHandle, CompressorSource>();
  readonly #ropes = new Map<RopeHandle, RopeSpec>();

  /** What of a backend makes handles, taking notes. */
  making(
    backend: Backend,
  ): Pick<Backend, 'packLinear' | 'packExperts' | 'packCompressor' | 'createRope' | 'createRouter'> {
    const noted = <H, S>(notes: Map<H, S>, handle: H, source: S): H => {
      notes.set(handle, source);
      return handle;
    };
    return {
      packLinear: (source) => noted(this.#linears, backend.packLinear(source), source),
      packExperts: (source) => noted(this.#experts, backend.packExperts(source), source),
      packCompressor: (ape, norm) =>
        noted(this.#compressors, backend.packCompressor(ape, norm), { ape: ape.slice(), norm: norm.slice() }),
      createRope: (spec) => noted(this.#ropes, backend.createRope(spec), spec),
      createRouter: (spec) => noted(this.routers, backend.createRouter(spec), spec),
    };
  }

  /** Dense weights that were packed. */
  get linears(): readonly LinearWeight[] {
    return [...this.#linears.keys()];
  }

  rope(handle: RopeHandle): RopeSpec {
    return known(this.#ropes, handle, 'a rope');
  }

  compressor(handle: CompressorHandle): CompressorSource {
    return known(this.#compressors, handle, 'a compressor');
  }

  linear(w: LinearWeight): LinearSource {
    return known(this.#linears, w, 'a linear weight');
  }

  planned(step: Step): Planned {
    return known(this.steps, step, 'a step');
  }

  router(handle: RouterHandle): RouteSpec {
    return known(this.routers, handle, 'a router');
  }

  /** Rows `[row0, row0 + rows)` of a dense weight as numbers. */
  linearRows(w: LinearWeight, row0: number, rows: number): Float64Array {
    const source = this.linear(w);
    const { n, k } = source;
    if (source.dtype !== 'nvfp4') {
      const { data } = source;
      if (typeof data === 'function') {
        const part = data(row0, rows);
        return decodeRows(ArrayBuffer.isView(part) ? { data: part } : part, k);
      }
      return decodeRows(ArrayBuffer.isView(data) ? { data } : data, k, row0, rows);
    }
    const { parts = 1, weightGlobalDecodeScale: scales } = source;
    const out = decodeRows(this.nvfp4Rows(w, row0, rows), k);
    for (let r = 0; r < rows; r++) {
      const scale = scales[Math.floor((((row0 + r) % n) * parts) / n)]!;
      for (let i = r * k; i < (r + 1) * k; i++) out[i] = out[i]! * scale;
    }
    return out;
  }

  /** Rows of a dense NVFP4 weight as they are stored. */
  nvfp4Rows(w: LinearWeight, row0: number, rows: number): Nvfp4Codes {
    const source = this.linear(w);
    if (source.dtype !== 'nvfp4') throw new Error(`${w.name} has no NVFP4 codes: it is ${source.dtype}`);
    const { data, k } = source;
    return typeof data === 'function' ? data(row0, rows) : nvfp4Part(data, k, row0, rows);
  }

  /** All rows of an NVFP4 expert as they are stored, all parts one after the other: [n, K/2] and [n, K/16]. */
  nvfp4Expert(w: ExpertsWeight, expert: number): Nvfp4Codes {
    const source = known(this.#experts, w, 'an expert weight');
    const { parts = 1, n, k } = source;
    const [codes, sf] = [new Uint8Array((n * k) / 2), new Uint8Array((n * k) / 16)];
    for (let p = 0; p < parts; p++) {
      const rows = source.read(expert, p);
      if (!('sf' in rows)) throw new Error(`${w.name}: an NVFP4 expert was read without codes`);
      codes.set(rows.codes, (p * codes.length) / parts);
      sf.set(rows.sf, (p * sf.length) / parts);
    }
    return { codes, sf };
  }

  /** All rows of an expert as numbers [n, K]; those of NVFP4 without their global scale, which is in alpha. */
  expert(w: ExpertsWeight, expert: number): Float64Array {
    const source = known(this.#experts, w, 'an expert weight');
    const { parts = 1, n, k } = source;
    const out = new Float64Array(n * k);
    for (let p = 0; p < parts; p++) out.set(decodeRows(source.read(expert, p), k), (p * out.length) / parts);
    return out;
  }
}

function known<H, S>(notes: ReadonlyMap<H, S>, handle: H, what: string): S {
  const source = notes.get(handle);
  if (source === undefined) throw new Error(`${what} was not made by the backend under verification`);
  return source;
}
