import type { WeightSource } from '@megamoe/layers';
import { createBackend } from '@megamoe/model';
import {
  overlaid,
  type Backend,
  type HostTensor,
  type KvCache,
  type OpArgs,
  type OpName,
  type StepRows,
  type Tensor,
  type Tensors,
} from '@megamoe/ops';
import { attend, visibleSet } from '@megamoe/reference';
import { readCache, sequencesOf } from '../src/cache-rows';
import { verifyBackend, type VerifyOptions, type VerifyResult } from '../src/index';
import { someTokens } from './support';

/** Where a backend under test is. */
export interface Now {
  /** -1 before the layers and after them. */
  layer: number;
  block: 'attention' | 'experts';
  /** Name of the weight of the last dense product. */
  linear: string;
  step: number;
  rows: StepRows | null;
  cache: KvCache | null;
}

type Args<N extends OpName> = OpArgs<N, Tensors>;
type When<N extends OpName> = (args: Args<N>, now: Now) => boolean;

/** Some methods of a backend, wrong. */
export type Mistake = (right: Backend, now: Now) => Partial<Backend>;

/** A mistake, and what has to be named. */
export interface Plant {
  readonly name: string;
  readonly layer: number | null;
  /** What is out of bound in that layer; the first one first. */
  readonly ops: readonly string[];
  /** What its dump holds, and known mistakes that it is recognized as. */
  readonly explained?: { readonly op: string; readonly tensors: string; readonly mistakes: readonly string[] };
  readonly mistake: Mistake;
}

/** What a host tensor holds. */
export const f32 = (x: Tensor): Float32Array => (x as HostTensor<'f32'>).data;
export const i32 = (x: Tensor): Int32Array => (x as HostTensor<'i32'>).data;

const method = <N extends OpName>(name: N, op: (args: Args<N>) => void): Partial<Backend> =>
  ({ [name]: op }) as Partial<Backend>;
const run = <N extends OpName>(backend: Backend, name: N, args: Args<N>): void => {
  (backend[name] as (args: Args<N>) => void)(args);
};

/** Calls the right operation with other arguments. */
export const given =
  <N extends OpName>(
    name: N,
    when: When<N>,
    change: (args: Args<N>, right: Backend, now: Now) => Partial<Args<N>>,
  ): Mistake =>
  (right, now) =>
    method(name, (args) => run(right, name, when(args, now) ? { ...args, ...change(args, right, now) } : args));

/** Runs the right operation, then spoils what it did. */
export const after =
  <N extends OpName>(name: N, when: When<N>, spoil: (args: Args<N>, right: Backend, now: Now) => void): Mistake =>
  (right, now) =>
    method(name, (args) => {
      run(right, name, args);
      if (when(args, now)) spoil(args, right, now);
    });

/** Does something else instead. */
export const instead =
  <N extends OpName>(name: N, when: When<N>, other: (args: Args<N>, right: Backend, now: Now) => void): Mistake =>
  (right, now) =>
    method(name, (args) => (when(args, now) ? other(args, right, now) : run(right, name, args)));

/** In a layer; null: before or after all of them. */
export const inLayer =
  (layer: number | null, block?: Now['block']) =>
  (_: unknown, now: Now): boolean =>
    now.layer === (layer ?? -1) && (block === undefined || now.block === block);

/** Keeps `now` true: layers are told apart by the hyper-connections before their blocks. */
function following(right: Backend, now: Now): Backend {
  let blocks = 0;
  return overlaid(right, {
    planStep(step, rows, cache, rope) {
      Object.assign(now, { rows, cache, layer: -1, step: now.step + 1 });
      blocks = 0;
      right.planStep(step, rows, cache, rope);
    },
    hcPre(args) {
      now.layer = Math.floor(blocks / 2);
      now.block = blocks++ % 2 === 0 ? 'attention' : 'experts';
      right.hcPre(args);
    },
    linear(args) {
      now.linear = args.w.name;
      right.linear(args);
    },
    hcHead(args) {
      now.layer = -1;
      right.hcHead(args);
    },
  });
}

/** The JavaScript backend with mistakes. */
export function broken(plants: readonly Pick<Plant, 'mistake'>[]): Backend {
  const now: Now = { layer: -1, block: 'attention', linear: '', step: 0, rows: null, cache: null };
  const wrong = plants.reduce((b, { mistake }) => overlaid(b, mistake(b, now)), createBackend({ backend: 'js' }));
  return following(wrong, now);
}

/** Verifies a backend with mistakes. */
export function verifyPlanted(
  source: WeightSource,
  plants: readonly Pick<Plant, 'mistake'>[],
  o: Partial<VerifyOptions> & { readonly tokens: number },
): Promise<VerifyResult> {
  const { tokens, ...rest } = o;
  const tokenIds = someTokens(tokens, source.config.vocabSize);
  return verifyBackend({ source, backend: broken(plants), tokenIds, decode: 0, maxChunk: 64, ...rest });
}

/** What a wrong attention sees. */
export interface WrongView {
  /** Tokens of the window. */
  readonly window?: number;
  /** Compressed entries of a row, [0, visible) being right. */
  readonly entries?: (visible: number) => number;
  /** Sequence whose memory a row reads. */
  readonly sequence?: (of: number) => number;
}

/** Attention of all rows with other keys than the right ones, by the reference. */
export function attendWrongly(args: Args<'attend'>, right: Backend, now: Now, wrong: WrongView): void {
  const { layer, heads, d, topk, softmaxScale } = args;
  const [rows, cache] = [now.rows!, now.cache!];
  const planned = { rows, cache, rope: null as never };
  const spec = cache.specs[layer]!;
  for (const s of sequencesOf(planned)) {
    const { row0, n, first: firstPosition, end } = s;
    const sequence = wrong.sequence?.(s.sequence) ?? s.sequence;
    const read = (part: 'window' | 'entries', from: number, to: number): Float32Array =>
      readCache(right, planned, { layer, part, sequence, from, end: to, width: d });
    const window = wrong.window ?? spec.window;
    const from = Math.max(0, firstPosition - window + 1);
    const kv = new Float32Array(end * d);
    kv.set(read('window', from, end), from * d);
    const entries = spec.ratio === 0 ? 0 : Math.floor(end / spec.ratio);
    const compressed = read('entries', 0, entries);
    const selected = args.selected ? i32(args.selected).subarray(row0 * topk, (row0 + n) * topk) : null;
    const visible =
      entries === 0 ? new Uint8Array(0) : visibleSet({ n, firstPosition, ratio: spec.ratio, entries, selected, topk });
    for (let r = 0; wrong.entries && r < n && entries > 0; r++) {
      const last = Math.floor((firstPosition + r + 1) / spec.ratio);
      for (let e = 0; e < entries; e++) if (e >= wrong.entries(last) && e < last) visible[r * entries + e] = 0;
    }
    const q = f32(args.q).subarray(row0 * heads * d, (row0 + n) * heads * d);
    const keys = { n, firstPosition, heads, d, kv, window, compressed, visible };
    const sinks = f32(args.sinks).subarray(0, heads);
    f32(args.out).set(attend(q, { ...keys, sinks, softmaxScale }), row0 * heads * d);
  }
}
