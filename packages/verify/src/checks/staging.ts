import type { InputPrecision, Staged, StagedRows, Tensor } from '@megamoe/ops';
import * as reference from '@megamoe/reference';
import { BYTES, COPIED } from '../bounds';
import { roundedToBf16 } from '../decode';
import { quantizeDump } from '../dump';
import type { Check, Judge, Scratch } from '../judge';
import type { Verdict } from '../recorder';
import type { Judged } from '../types';
import { PROBED_ROWS, rowScalesOf } from './precision';
import { beyondLimit, swigluBeside } from './rows';

/** What is staged, and how. */
interface Staging {
  /** [rows, k] in slot order. */
  readonly floats: Float32Array;
  readonly k: number;
  readonly inputs: InputPrecision;
  /** [E] cumulative ends. */
  readonly ends: Int32Array;
  /** [E]; null: each row has its own. */
  readonly globalDecodeScale: Float32Array | null;
}

/** Calls `each` for every expert that has rows. */
export function forExperts(ends: Int32Array, each: (e: number, start: number, rows: number) => void): void {
  let start = 0;
  ends.forEach((end, e) => {
    if (end > start) each(e, start, end - start);
    start = end;
  });
}

/** Rows that experts have. */
export function rowsOf(ends: Int32Array): number {
  return ends.at(-1) ?? 0;
}

/** Global decode scale of each row. */
function scalesOf({ floats, k, ends, globalDecodeScale }: Staging): Float32Array {
  const rows = rowsOf(ends);
  if (globalDecodeScale === null) return rowScalesOf(floats, rows, k);
  const scales = new Float32Array(rows);
  forExperts(ends, (e, start, n) => scales.fill(globalDecodeScale[e]!, start, start + n));
  return scales;
}

/** What must lie in the staged rows. */
function rightRows(s: Staging): StagedRows {
  if (s.inputs === 'f32') return { inputs: 'f32', rows: s.floats };
  if (s.inputs === 'bf16') return { inputs: 'bf16', rows: roundedToBf16(s.floats) };
  const scales = scalesOf(s);
  const matrix = reference.quantizeNvfp4(s.floats, { m: scales.length, k: s.k, globalDecodeScale: scales });
  return { inputs: 'nvfp4', ...matrix, rowScale: s.globalDecodeScale === null ? scales : null };
}

/** Staged rows beside the right ones. A backend may round to BF16 when it stages or when it multiplies. */
function compared(got: StagedRows, want: StagedRows, rows: number, k: number, of: string): Judged[] {
  if (want.inputs !== 'nvfp4' || got.inputs !== 'nvfp4') {
    if (got.inputs !== want.inputs || got.inputs === 'nvfp4' || want.inputs === 'nvfp4')
      throw new Error(`staged as ${got.inputs}, asked for ${want.inputs}`);
    const shown = got.inputs === 'bf16' ? roundedToBf16(got.rows) : got.rows;
    return [
      { output: `rows${of}`, got: shown.subarray(0, rows * k), want: want.rows, shape: [rows, k], bound: COPIED },
    ];
  }
  const cut = <T extends Uint8Array | Float32Array>(x: T, n: number): T => x.subarray(0, n) as T;
  const outputs: Judged[] = [
    { output: `scales${of}`, got: cut(got.sf, (rows * k) / 16), want: want.sf, shape: [rows, k / 16], bound: BYTES },
    { output: `codes${of}`, got: cut(got.codes, (rows * k) / 2), want: want.codes, shape: [rows, k / 2], bound: BYTES },
  ];
  if (want.rowScale === null) return outputs;
  const own = got.rowScale === null ? new Float32Array(rows).fill(NaN) : cut(got.rowScale, rows);
  return [...outputs, { output: `row_scale${of}`, got: own, want: want.rowScale, shape: [rows], bound: BYTES }];
}

/** Judges what was staged, where the backend shows it, and remembers it for the product after it. */
function judgeStaged(j: Judge, at: Verdict, staged: Staged, s: Staging, of = ''): void {
  const rows = rowsOf(s.ends);
  const want = rightRows(s);
  const shown = j.watch.guarded(at, () => j.backend.readStaged?.(staged));
  j.staged.set(staged, {
    ...{ at, floats: s.floats, k: s.k, rows: shown ?? want },
    inputScales: s.inputs === 'nvfp4' ? s.globalDecodeScale : null,
  });
  if (shown === undefined) {
    j.notes.unseen(at.operation!);
    return;
  }
  const outputs = j.watch.guarded(at, () => compared(shown, want, rows, s.k, of));
  j.take(at, outputs, () =>
    shown.inputs === 'nvfp4' && want.inputs === 'nvfp4'
      ? quantizeDump({ floats: s.floats, k: s.k, scales: scalesOf(s), got: shown, want })
      : undefined,
  );
  if (shown.inputs === 'nvfp4' && of === '') j.notes.staged(shown.sf.subarray(0, (rows * s.k) / 16));
}

/** A way to stage. */
interface Way {
  readonly inputs: InputPrecision;
  /** NVFP4: with scales of the experts, or each row's own. */
  readonly isStatic: boolean;
}

const isStatic = (s: Staging): boolean => s.inputs === 'nvfp4' && s.globalDecodeScale !== null;

/** Ways to stage that the model does not use; NVFP4 needs blocks of 16. */
function otherWays(j: Judge, s: Staging): Way[] {
  const all: Way[] = [
    { inputs: 'f32', isStatic: false },
    { inputs: 'bf16', isStatic: false },
    ...(s.k % 16 === 0 ? [true, false].map((own) => ({ inputs: 'nvfp4' as const, isStatic: own })) : []),
  ];
  return j.everyPrecision ? all.filter((w) => w.inputs !== s.inputs || w.isStatic !== isStatic(s)) : [];
}

/** The first few rows of a staging, as another way has them. */
export function fewRows(s: Staging, { inputs, isStatic }: Way): Staging {
  const ends = s.ends.map((end) => Math.min(end, PROBED_ROWS));
  const floats = s.floats.subarray(0, rowsOf(ends) * s.k);
  // A scale for each expert, all different, so that one in another's place shows.
  const scale = reference.nvfp4GlobalDecodeScale(floats) || 1;
  const globalDecodeScale = isStatic ? Float32Array.from(ends, (_, e) => scale * (1 + e / 8)) : null;
  return { ...s, inputs, ends, floats, globalDecodeScale };
}

/** What an operation that stages is given besides what it stages. */
interface StageArgs {
  readonly slots: number;
  readonly expertOffsets: Tensor;
  readonly inputs: InputPrecision;
  readonly globalDecodeScale: Tensor | null;
  readonly staged: Staged;
}

/** Stages a few rows in one way, beside the model's own call, and judges that. */
function judgeBeside(
  j: Judge,
  beside: Verdict,
  s: Staging,
  of: string,
  run: (args: StageArgs, made: Scratch) => void,
): void {
  const { inputs, k, ends } = s;
  const slots = rowsOf(ends);
  j.scratch((made) => {
    const staged = made.staged({ slots, k, inputs: [inputs] });
    const globalDecodeScale = s.globalDecodeScale && made.tensor(s.globalDecodeScale);
    run({ slots, inputs, staged, expertOffsets: made.tensor(ends), globalDecodeScale }, made);
    judgeStaged(j, beside, staged, s, of);
    j.staged.delete(staged);
  });
}

/** Rows gathered into slot order, at any precision. */
export const stage: Check<'stage'> = {
  at: ({ x, inputs }, j) => ({ layer: j.layer, op: j.names.on('stage', x), operation: 'stage', inputs }),
  judge({ args, before }, at, j) {
    const { k, inputs, x, slotToken } = args;
    const ends = before.expertOffsets;
    const rows = rowsOf(ends);
    const floats = before.slotToken
      ? Float32Array.from(reference.gatherRows(before.x, before.slotToken.subarray(0, rows), k))
      : before.x.slice(0, rows * k);
    const staging = { floats, k, inputs, ends, globalDecodeScale: before.globalDecodeScale };
    judgeStaged(j, at, args.staged, staging);
    if (rows === 0 || !j.first('ways', at.layer, at.op)) return;
    for (const way of otherWays(j, staging)) {
      const beside = { layer: at.layer, op: `stage.${way.inputs}`, operation: 'stage', inputs: way.inputs } as const;
      judgeBeside(j, beside, fewRows(staging, way), ` of ${at.op}`, (other) =>
        j.again(beside, 'stage', { x, k, slotToken, ...other }),
      );
    }
  },
};

/** SwiGLU and staging in one: the backend's own SwiGLU is judged beside it, and then what was staged, which is made of the same floats. */
export const swigluStage: Check<'swigluStage'> = {
  at: ({ gateUp, inputs }, j) => ({
    layer: j.layer,
    op: j.names.on('swigluStage', gateUp),
    operation: 'swigluStage',
    inputs,
  }),
  judge({ args, before }, at, j) {
    const { i, inputs, gateUp, limit } = args;
    const ends = before.expertOffsets;
    const rows = rowsOf(ends);
    const unfused = { layer: at.layer, op: j.names.on('swiglu', gateUp), operation: 'swiglu' } as const;
    const floats = swigluBeside(j, unfused, { gateUp, slots: rows, i, limit });
    const staging = { floats, k: i, inputs, ends, globalDecodeScale: before.globalDecodeScale };
    judgeStaged(j, at, args.staged, staging);
    if (rows === 0 || !j.first('ways', at.layer, at.op)) return;
    // A few rows, stretched past the limit: what the fused operation clamps must be what SwiGLU clamps.
    const few = ends.map((end) => Math.min(end, PROBED_ROWS));
    const x = beyondLimit(before.gateUp.subarray(0, rowsOf(few) * 2 * i), limit);
    const clamped = j.scratch((made) =>
      swigluBeside(j, unfused, { gateUp: made.tensor(x), slots: rowsOf(few), i, limit }),
    );
    const used = { inputs, isStatic: isStatic(staging) };
    for (const way of [used, ...otherWays(j, staging)]) {
      const { inputs: p } = way;
      const other = { layer: at.layer, op: `swigluStage.${p}`, operation: 'swigluStage', inputs: p } as const;
      const [beside, of] = way === used ? [at, ' of inputs stretched past the limit'] : [other, ` of ${at.op}`];
      judgeBeside(j, beside, fewRows({ ...staging, floats: clamped, ends: few }, way), of, (o, made) =>
        j.again(beside, 'swigluStage', { gateUp: made.tensor(x), i, limit, ...o }),
      );
    }
  },
};

/** Stages rows of the judge's own, for a product to be judged on. */
export function stageBeside(j: Judge, made: Scratch, at: Verdict, s: Staging): Staged {
  const { k, inputs } = s;
  const slots = rowsOf(s.ends);
  const staged = made.staged({ slots, k, inputs: [inputs] });
  j.again(at, 'stage', {
    ...{ k, slots, inputs, staged, slotToken: null },
    x: made.tensor(s.floats, [slots, k]),
    expertOffsets: made.tensor(s.ends),
    globalDecodeScale: s.globalDecodeScale && made.tensor(s.globalDecodeScale),
  });
  const rows = j.watch.guarded(at, () => j.backend.readStaged?.(staged)) ?? rightRows(s);
  j.staged.set(staged, { at, floats: s.floats, k, rows, inputScales: s.globalDecodeScale });
  return staged;
}
