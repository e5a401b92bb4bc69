/** `moe_nvfp4`: routed experts, gate and up, SwiGLU, down, weighted and added. */
import type { DumpReader } from './dump';
import { lazy, leadingZero, ownersOf } from './gemm';
import { FLOAT32 } from './levels';
import type { Weights } from './moe-dots';
import { LEVELS, MoeRunner, type Run, type Slot, type Staging } from './moe-run';
import { NIBBLE_MISTAKES } from './nibbles';
import { floatProblem, type FloatCandidate } from './problem';
import { raggedBlocks, readBuffer, weightBlocks, wrongBuffers } from './scales';
import { amaxRule, mostlySaturated, stage } from './staging';
import type { Problem } from './types';

/** A choice of a token, with the id that an expert of the dump has. */
interface Choice {
  readonly token: number;
  readonly weight: number;
  readonly expert: number;
}

/** Layers a mistake is planted in. */
type Where = 'both' | 'l1' | 'l2';

const WHERE: readonly { where: Where; rank: 0 | 1; text: string }[] = [
  { where: 'both', rank: 0, text: 'in both layers' },
  { where: 'l1', rank: 1, text: 'in L1 (gate and up)' },
  { where: 'l2', rank: 1, text: 'in L2 (down)' },
];

interface Dimensions {
  readonly t: number;
  readonly h: number;
  readonly i: number;
  readonly experts: number;
  readonly topk: number;
}

type Add = (id: string, rank: 0 | 1, reading: string, run: () => Run) => void;

/** Wrong scales of all weights are kept for each mistake when they are smaller than this together, in bytes; else made at each use. */
const KEPT_SCALES = 5e8;

function readWeights(reader: DumpReader, name: string, rows: string, k: string): Weights {
  return {
    key: name,
    codes: reader.bytes(`in.${name}_codes`, ['E', rows, `${k}/2`]),
    sf: reader.scales(`in.${name}_sf`, ['E', rows, `${k}/16`]),
    order: 'right',
    global: Float64Array.from(reader.floats(`in.${name}_global_decode`, ['E']).data),
  };
}

function readStaging(reader: DumpReader, name: string): Staging | undefined {
  if (!reader.has(name)) return undefined;
  const scales = Float64Array.from(reader.floats(name, ['E']).data);
  scales.forEach((g, e) => {
    if (!(g > 0)) throw reader.fail(`expected scales above 0, found ${g} at index ${e}`, name);
  });
  return { quantize: scales, alpha: scales, order: 'right' };
}

/** Choices sorted by (expert, token, choice), those of other ranks left out. */
function sorted(choices: readonly Choice[], experts: number): Choice[] {
  return choices
    .filter(({ expert }) => expert >= 0 && expert < experts)
    .sort((a, b) => a.expert - b.expert || a.token - b.token);
}

const reading = (choices: readonly Choice[]): Slot[] => choices.map((c) => ({ ...c, reads: c.token }));

/** Reads a `moe_nvfp4` dump. */
export function MOE(reader: DumpReader): Problem {
  const limit = reader.number('swiglu_limit', { fallback: Infinity });
  if (!(limit > 0)) throw reader.fail(`__metadata__ "swiglu_limit": expected a number above 0, found ${limit}`);
  const start = reader.number('experts_start', { fallback: 0, min: 0, integer: true });
  const x = reader.floats('in.x', ['T', 'H']).data;
  const topkIds = reader.ints('in.topk_ids', ['T', 'topk']);
  const topkWeights = reader.floats('in.topk_weights', ['T', 'topk']).data;
  reader.multipleOf('H', 16, 'in.x');
  const gate = readWeights(reader, 'w1', 'I', 'H');
  const i = reader.multipleOf('I', 16, 'in.w1_codes');
  const up = readWeights(reader, 'w3', 'I', 'H');
  const down = readWeights(reader, 'w2', 'H', 'I');
  const l1 = readStaging(reader, 'in.w13_input_scale');
  const l2 = readStaging(reader, 'in.w2_input_scale');
  if (!l1 !== !l2) {
    const [there, missing] = l1
      ? ['in.w13_input_scale', 'in.w2_input_scale']
      : ['in.w2_input_scale', 'in.w13_input_scale'];
    throw reader.fail(
      `expected shape [E], as ${there} is given; found no such tensor (both absent: float activations)`,
      missing,
    );
  }
  const output = reader.floats('out', ['T', 'H'], 'anything');
  const [t, h, experts, topk] = [reader.size('T'), reader.size('H'), reader.size('E'), reader.size('topk')];
  const shape: Dimensions = { t, h, i, experts, topk };

  const choices: Choice[] = Array.from(topkIds, (id, at) => ({
    token: Math.floor(at / topk),
    weight: topkWeights[at]!,
    expert: id - start,
  }));
  const local = sorted(choices, experts);
  const runner = new MoeRunner({ t, h, i, x, limit });
  const right: Run = { l1Key: 'right', slots: reading(local), gate, up, down, l1, l2, clamp: true };

  const candidates: FloatCandidate[] = [];
  const scaleMistakes = wrongBuffers({
    sf: gate.sf,
    kSf: h / 16,
    blocks: weightBlocks(experts, i),
    weights: true,
  }).length;
  const keep = (gate.sf.length + up.sf.length + down.sf.length) * scaleMistakes < KEPT_SCALES;
  const add: Add = (id, rank, text, run) => {
    const made = keep ? lazy(run) : run;
    candidates.push({ id, rank, reading: text, predict: (sample, level) => runner.predict(made(), level, sample) });
  };
  const { base, notes } = addSaturated(add, runner, right, shape);
  addScales(add, right, shape, keep);
  addSlots(add, right, local, choices, start, shape);
  addGlobalScales(add, right);
  addCodes(add, right);
  add('gate-up-swapped', 0, '', () => ({ ...right, l1Key: 'swapped', gate: up, up: gate }));
  if (limit < Infinity) add('swiglu-unclamped', 0, '', () => ({ ...right, l1Key: 'unclamped', clamp: false }));
  return floatProblem({
    output,
    m: t,
    n: h,
    cost: { perRow: topk * 2 * i * h, perElement: topk * i },
    levels: LEVELS,
    right: (sample, level) => runner.predict(base, level, sample),
    candidates,
    notes,
  });
}

/** Rows of each expert's slots, their amax rule. */
function amaxByExpert(run: Run, experts: number, row: (s: number) => ArrayLike<number> | undefined): Float64Array {
  return Float64Array.from({ length: experts }, (_, e) => {
    let scale = 0;
    run.slots.forEach((slot, s) => {
      const values = slot.expert === e ? row(s) : undefined;
      if (values) scale = Math.max(scale, amaxRule(values));
    });
    return scale || 1;
  });
}

/** When the scales given cut most blocks off, following them is the mistake, and what is right is the amax rule. */
function addSaturated(
  add: Add,
  runner: MoeRunner,
  right: Run,
  { h, i, experts, t, topk }: Dimensions,
): { base: Run; notes: string[] } {
  const { l1, l2, slots } = right;
  if (!l1 || !l2) return { base: right, notes: [] };
  const { x } = runner.inputs;
  const token = (s: number): Float32Array => x.subarray(slots[s]!.token * h, (slots[s]!.token + 1) * h);
  const looked = Math.max(1, Math.floor(1e8 / (2 * i * h * Math.max(1, topk))));
  const tokens = new Set(
    Array.from({ length: Math.min(t, looked) }, (_, n) => Math.floor((n * t) / Math.min(t, looked))),
  );
  const sampled = Array.from(slots.keys()).filter((s) => tokens.has(slots[s]!.token));
  const hidden = runner.hidden(right, FLOAT32, sampled);
  const count = (
    k: number,
    scales: Float64Array,
    row: (s: number) => ArrayLike<number>,
  ): { saturated: number; filled: number } => {
    const sum = { saturated: 0, filled: 0 };
    for (const s of sampled) {
      const { saturated, filled } = stage(row(s), k, () => scales[slots[s]!.expert]!);
      sum.saturated += saturated;
      sum.filled += filled;
    }
    return sum;
  };
  const [first, second] = [count(h, l1.quantize, token), count(i, l2.quantize, (s) => hidden.get(s)!.values)];
  const [bad1, bad2] = [mostlySaturated(first), mostlySaturated(second)];
  if (!bad1 && !bad2) return { base: right, notes: [] };
  const staging = (old: Staging, scales: Float64Array): Staging => ({ ...old, quantize: scales, alpha: scales });
  const base: Run = {
    ...right,
    l1Key: bad1 ? 'amax' : 'right',
    l1: bad1 ? staging(l1, amaxByExpert(right, experts, token)) : l1,
    l2: bad2
      ? staging(
          l2,
          amaxByExpert(right, experts, (s) => hidden.get(s)?.values),
        )
      : l2,
  };
  const notes = [
    ...(bad1 ? [`in.w13_input_scale cuts ${first.saturated} of ${first.filled} block scales off at 448.`] : []),
    ...(bad2 ? [`in.w2_input_scale cuts ${second.saturated} of ${second.filled} block scales off at 448.`] : []),
  ];
  add('input-scale-saturated', 0, notes.join(' ').replace(/\.$/, ''), () => right);
  return { base, notes };
}

function addScales(add: Add, right: Run, { h, i, experts }: Dimensions, keep: boolean): void {
  const source = (w: Weights, rows: number, kSf: number) => ({
    sf: w.sf,
    kSf,
    blocks: weightBlocks(experts, rows),
    weights: true,
  });
  const wrong = [
    wrongBuffers(source(right.gate, i, h / 16)),
    wrongBuffers(source(right.up, i, h / 16)),
    wrongBuffers(source(right.down, h, i / 16)),
  ] as const;
  wrong[0].forEach(({ id, rank, reading: text }, n) => {
    const seen = (w: Weights, at: 0 | 1 | 2, rows: number, kSf: number): (() => Weights) => {
      const make = (): Weights => ({
        ...w,
        key: `${w.key} ${n}`,
        sf: readBuffer(wrong[at][n]!.buffer(), source(w, rows, kSf)),
      });
      return keep ? lazy(make) : make;
    };
    const read = [
      seen(right.gate, 0, i, h / 16),
      seen(right.up, 1, i, h / 16),
      seen(right.down, 2, h, i / 16),
    ] as const;
    for (const { where, rank: rank2, text: layers } of WHERE) {
      const reads = [`Scales of the weights ${layers}`, text].filter(Boolean).join(', ');
      add(id, rank2 || rank ? 1 : 0, reads, () => ({
        ...right,
        ...(where === 'l2' ? {} : { l1Key: `weights ${id} ${n}`, gate: read[0](), up: read[1]() }),
        ...(where === 'l1' ? {} : { down: read[2]() }),
      }));
    }
  });
  if (!right.l1 || !right.l2) return;
  const blocks = raggedBlocks(endsOf(right.slots, experts));
  // Only which mistakes there are is asked of empty scales; the bytes are made when the rows are staged.
  const empty = (kSf: number) => ({ sf: new Uint8Array(right.slots.length * kSf), kSf, blocks, weights: false });
  const kinds = wrongBuffers(empty(1));
  const reread =
    (n: number, kSf: number) =>
    (sf: Uint8Array): Uint8Array => {
      const rows = { ...empty(kSf), sf };
      return readBuffer(wrongBuffers(rows)[n]!.buffer(), rows);
    };
  kinds.forEach(({ id, rank, reading: text }, n) => {
    for (const { where, rank: rank2, text: layers } of WHERE) {
      const reads = [`Scales of the activations ${layers}`, text].filter(Boolean).join(', ');
      add(id, rank2 || rank ? 1 : 0, reads, () => ({
        ...right,
        ...(where === 'l2' ? {} : { l1Key: `activations ${id} ${n}`, l1: { ...right.l1!, reread: reread(n, h / 16) } }),
        ...(where === 'l1' ? {} : { l2: { ...right.l2!, reread: reread(n, i / 16) } }),
      }));
    }
  });
}

function endsOf(slots: readonly { expert: number }[], experts: number): Int32Array {
  const ends = new Int32Array(experts);
  for (const { expert } of slots) for (let e = Math.max(expert, 0); e < experts; e++) ends[e]!++;
  return ends;
}

function addSlots(
  add: Add,
  right: Run,
  local: readonly Choice[],
  choices: readonly Choice[],
  start: number,
  { t, experts, topk }: Dimensions,
): void {
  const { slots } = right;
  const ends = endsOf(slots, experts);
  const left = ownersOf(ends, slots.length, true);
  const owned = (key: string, owners: ArrayLike<number>): Run => ({
    ...right,
    l1Key: key,
    slots: slots.map((slot, s) => ({ ...slot, expert: owners[s]! })),
  });
  add('offsets-leading-zero', 0, '', () => owned('leading', ownersOf(leadingZero(ends), slots.length)));
  add('offsets-searchsorted-left', 0, '', () => owned('left', left));
  add('offsets-searchsorted-left', 1, 'First slots given to the expert one less', () =>
    owned(
      'before',
      slots.map(({ expert }, s) => (expert > 0 && s === ends[expert - 1] ? expert - 1 : expert)),
    ),
  );
  if (slots.length > 0 && left[0] !== slots[0]!.expert) {
    const kept = left.map((e, s) => (s === 0 ? slots[0]!.expert : e));
    add('offsets-searchsorted-left', 1, 'Slot 0 left to its expert', () => owned('left but slot 0', kept));
  }
  const gathered = (key: string, reads: (s: number) => number): Run => ({
    ...right,
    l1Key: key,
    slots: slots.map((slot, s) => ({ ...slot, reads: reads(s) })),
  });
  add('slots-not-gathered', 0, '', () => gathered('slot zero', (s) => (s < t ? s : -1)));
  add('slots-not-gathered', 0, 'Beyond the tokens from the start again', () => gathered('slot mod', (s) => s % t));
  add('slots-not-gathered', 0, 'Beyond the tokens the last one', () =>
    gathered('slot clamp', (s) => Math.min(s, t - 1)),
  );
  add('slots-not-gathered', 1, 'Slots taken to be in the order of tokens', () =>
    gathered('slot order', (s) => Math.floor(s / topk)),
  );
  add('slots-not-gathered', 1, 'Neither gathered nor scattered', () => ({
    ...right,
    l1Key: 'slot both',
    slots: slots.map((slot, s) => ({ ...slot, reads: s % t, token: s % t })),
  }));
  add('slots-all-token-0', 0, '', () => gathered('slot 0', () => 0));
  if (start === 0) return;
  const taken = (keep: (global: number) => boolean): Slot[] =>
    reading(
      sorted(
        choices.map((c) => ({ ...c, expert: keep(c.expert + start) ? c.expert + start : -1 })),
        experts,
      ),
    );
  add('expert-ids-global', 0, '', () => ({ ...right, l1Key: 'global', slots: taken(() => true) }));
  add('expert-ids-global', 1, "Only the rank's own experts", () => ({
    ...right,
    l1Key: 'global own',
    slots: taken((id) => id >= start && id < start + experts),
  }));
  if (local.length > 0)
    add('expert-ids-global', 1, 'Nothing is computed', () => ({ ...right, l1Key: 'nothing', slots: [] }));
}

function addGlobalScales(add: Add, right: Run): void {
  const KINDS: readonly { id: string; change: (scale: number, first: number) => number }[] = [
    { id: 'global-scale-inverted', change: (g) => 1 / g },
    { id: 'global-scale-missing', change: () => 1 },
    { id: 'global-scale-twice', change: (g) => g * g },
    { id: 'global-scale-of-first-expert', change: (_, first) => first },
  ];
  const { gate, up, down, l1, l2 } = right;
  for (const { id, change } of KINDS) {
    const changed = (scales: Float64Array): Float64Array => scales.map((g) => change(g, scales[0]!));
    for (const { where, rank, text } of WHERE) {
      if (l1 && l2) {
        const readings =
          id === 'global-scale-of-first-expert' ? (['alpha', 'quantize'] as const) : (['alpha'] as const);
        for (const until of readings) {
          const staging = (old: Staging): Staging => ({
            ...old,
            alpha: changed(old.alpha),
            ...(until === 'quantize' ? { quantize: changed(old.quantize) } : {}),
          });
          const what = until === 'alpha' ? 'Input scales in alpha' : 'Input scales in quantization and alpha';
          add(id, rank, `${what} ${text}`, () => ({
            ...right,
            ...(where === 'l2' ? {} : { l1Key: `alpha ${id} ${until}`, l1: staging(l1) }),
            ...(where === 'l1' ? {} : { l2: staging(l2) }),
          }));
        }
      }
      const weights = (w: Weights): Weights => ({ ...w, global: changed(w.global) });
      add(id, l1 ? 1 : rank, `Weights' scales ${text}`, () => ({
        ...right,
        ...(where === 'l2' ? {} : { l1Key: `weights' scale ${id}`, gate: weights(gate), up: weights(up) }),
        ...(where === 'l1' ? {} : { down: weights(down) }),
      }));
    }
  }
  const forL2 = (rank: 0 | 1, text: string, change: Partial<Run>): void =>
    add('global-scale-l1-for-l2', rank, text, () => ({ ...right, ...change }));
  if (l1 && l2) {
    forL2(0, 'Input scale, in quantization and alpha', { l2: { ...l2, quantize: l1.quantize, alpha: l1.alpha } });
    forL2(0, 'Input scale, in alpha', { l2: { ...l2, alpha: l1.alpha } });
    forL2(1, 'Input scale, in quantization', { l2: { ...l2, quantize: l1.quantize } });
  }
  forL2(l1 ? 1 : 0, "Weights' scale", { down: { ...down, global: gate.global } });
}

function addCodes(add: Add, right: Run): void {
  const { gate, up, down, l1, l2 } = right;
  for (const { id, order, rank, reading: text } of NIBBLE_MISTAKES) {
    for (const { where, rank: rank2, text: layers } of WHERE) {
      const r = rank || rank2 ? 1 : 0;
      const named = (what: string): string => [`Codes of the ${what} ${layers}`, text].filter(Boolean).join(', ');
      add(id, r, named('weights'), () => ({
        ...right,
        ...(where === 'l2' ? {} : { l1Key: `codes ${order}`, gate: { ...gate, order }, up: { ...up, order } }),
        ...(where === 'l1' ? {} : { down: { ...down, order } }),
      }));
      if (!l1 || !l2) continue;
      add(id, r, named('activations'), () => ({
        ...right,
        ...(where === 'l2' ? {} : { l1Key: `activation codes ${order}`, l1: { ...l1, order } }),
        ...(where === 'l1' ? {} : { l2: { ...l2, order } }),
      }));
    }
  }
}
