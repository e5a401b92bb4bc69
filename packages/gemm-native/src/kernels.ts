import {
  checkCapacity,
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkPositive,
  KindError,
  plainView,
  ShapeError,
  ValueError,
} from '@megamoe/core';
import { arrayChecks, checkMatrices, makeTakers, makeValueChecks } from '@megamoe/ops';
import type { HostArrays, OpArgs } from '@megamoe/ops';
import { ARRAYS, checkAlpha, checkGlobalScales } from './checks';
import { rowsOf } from './engine';
import type { Engine, EngineArgs } from './engine';
import { guarded } from './guard';
import { packExperts, packLinear } from './pack';
import { SlotPool } from './pool';
import { checkStaged, HostStaged } from './staged';
import type { GemmKernels, GemmOp } from './types';
import { checkExpertsWeight, checkLinearWeight } from './weights';
import type { PackedExpertsWeight } from './weights';

type Args<N extends GemmOp> = OpArgs<N, HostArrays>;

/** The same arguments, once their handles have been checked. */
const known = <N extends GemmOp>(a: Args<N>): EngineArgs<N> => a as unknown as EngineArgs<N>;

/**
 * The checks in front of an engine: what follows from the list, and what it cannot know. What gets through cannot make a kernel read or write
 * outside its buffers.
 */
export function checkedKernels(bare: Engine): GemmKernels {
  const engine = guarded(bare);
  const { layout } = engine;
  const take = makeTakers();
  const check = makeValueChecks(
    arrayChecks((fn, arg, v, of) => {
      if (of === 'linear') checkLinearWeight(fn, arg, v, layout);
      else if (of === 'experts') checkExpertsWeight(fn, arg, v, layout);
      else checkStaged(fn, arg, v);
    }),
  );
  return {
    backend: engine.backend,
    isa: engine.isa,
    threads: engine.threads,

    packLinear: (source) => packLinear(engine, source),
    packExperts: (source) => packExperts(engine, source),
    createExpertPool: (shape) => new SlotPool(engine, shape),
    createStaged: (spec) => new HostStaged(spec, engine.backend === 'native'),

    packedBytes(format, matrices, n, k) {
      checkMatrices('packedBytes', format, matrices, n, k);
      return engine.packedBytes(format, matrices, n, k);
    },

    embed(given) {
      const a = take.embed(given);
      check.embed(a, a === given);
      const { table } = a;
      if (table.groups !== 1) throw new ShapeError(`embed: "table" must have one group, got ${table.groups}`);
      if (table.dtype === 'nvfp4') throw new ValueError('embed: "table" must be one of fp8, bf16, f32, got nvfp4');
      if (a.rows > 0) engine.embed(known<'embed'>(a));
    },

    rmsNorm(given) {
      const a = take.rmsNorm(given);
      check.rmsNorm(a, a === given);
      if (a.rows > 0) engine.rmsNorm(a);
    },

    linear(given) {
      const a = take.linear(given);
      check.linear(a, a === given);
      const { w } = a;
      if (a.inputs === 'nvfp4' && w.inputGlobalDecodeScale === null)
        throw new ValueError(
          `linear: "w" must be nvfp4 with an inputGlobalDecodeScale for inputs "nvfp4", got ${w.dtype} without one${called(w.name)}`,
        );
      if (a.rows > 0) engine.linear(known<'linear'>(a));
    },

    swiglu(given) {
      const a = take.swiglu(given);
      check.swiglu(a, a === given);
      if (a.rows > 0) engine.swiglu(a);
    },

    add(given) {
      const a = take.add(given);
      check.add(a, a === given);
      if (a.n > 0) engine.add(a);
    },

    gatherRows(given) {
      const a = take.gatherRows(given);
      check.gatherRows(a, a === given);
      if (a.rows > 0) engine.gatherRows(a);
    },

    hcPre(given) {
      const a = take.hcPre(given);
      check.hcPre(a, a === given);
      if (a.rows > 0) engine.hcPre(a);
    },

    hcPost(given) {
      const a = take.hcPost(given);
      check.hcPost(a, a === given);
      if (a.rows > 0) engine.hcPost(a);
    },

    hcHead(given) {
      const a = take.hcHead(given);
      check.hcHead(a, a === given);
      if (a.rows > 0) engine.hcHead(a);
    },

    stage(given) {
      const a = take.stage(given);
      const fn = 'stage';
      check.stage(a, a === given);
      const { x, k, slotToken, slots, expertOffsets, inputs, globalDecodeScale } = a;
      const rows = rowsOf(expertOffsets);
      if (slotToken === null) checkCapacity(fn, 'x', x, 'R*k', rows * k);
      else ARRAYS.indices(fn, 'slotToken', slotToken, rows, 0, ARRAYS.rows(fn, 'x', x, k)); // -1 stands beyond R alone
      const staged = a.staged as HostStaged;
      checkStaging(fn, a, 'k', k);
      if (a !== given) checkUnshared(fn, a); // tensors of a step are their backend's own
      staged.empty(fn, slots, k, inputs);
      if (rows > 0) engine.stage(known<'stage'>(a));
      staged.fill(slots, rows, k, inputs, globalDecodeScale === null);
    },

    swigluStage(given) {
      const a = take.swigluStage(given);
      const fn = 'swigluStage';
      check.swigluStage(a, a === given);
      const { slots, i, inputs, globalDecodeScale } = a;
      const rows = rowsOf(a.expertOffsets);
      const staged = a.staged as HostStaged;
      checkStaging(fn, a, 'i', i);
      if (a !== given) checkUnshared(fn, a); // tensors of a step are their backend's own
      staged.empty(fn, slots, i, inputs);
      if (rows > 0) engine.swigluStage(known<'swigluStage'>(a));
      staged.fill(slots, rows, i, inputs, globalDecodeScale === null);
    },

    groupedGemm(given) {
      const a = take.groupedGemm(given);
      const fn = 'groupedGemm';
      check.groupedGemm(a, a === given);
      const { expertOffsets, alpha, out } = a;
      const w = a.w as PackedExpertsWeight;
      const staged = a.staged as HostStaged;
      const { numExperts, n, k, parts } = w;
      checkLength(fn, 'expertOffsets', expertOffsets, 'numExperts', numExperts);
      const rows = rowsOf(expertOffsets);
      checkProduct(fn, w, staged, rows);
      checkAlpha(fn, w, alpha, expertOffsets);
      if (rows === 0) return;
      const { pool } = w;
      if (pool === null) {
        engine.groupedGemm(known<'groupedGemm'>(a));
        return;
      }
      // Experts are multiplied one by one: what the first writes must not be the alpha of the next.
      if (alpha !== null)
        ARRAYS.apart(fn, ARRAYS.place('out', out, rows * n), ARRAYS.place('alpha', alpha, numExperts * parts));
      const own: Args<'groupedGemm'> = { ...a, expertOffsets: plainView(expertOffsets, Int32Array).slice() };
      const [to, scales] = [plainView(out, Float32Array), alpha === null ? null : plainView(alpha, Float32Array)];
      const { version } = staged;
      pool.eachExpert(w, own.expertOffsets, (turn) => {
        // Reading an expert ran code of the caller's, which may have done anything to the arguments.
        if (turn.isRead) check.groupedGemm(own);
        if (staged.version !== version)
          throw new ValueError(`${fn}: "staged" was staged anew or disposed while an expert was read`);
        const { start, end, expert } = turn;
        const cut = <T extends Uint8Array | Float32Array>(v: T, width: number): T =>
          v.subarray(start * width, end * width) as T;
        engine.groupedGemm({
          w: turn.w,
          staged: {
            buffer: staged.buffer,
            inputs: staged.inputs,
            ownScales: staged.ownScales,
            codes: cut(staged.codes, k / 2),
            sf: cut(staged.sf, k / 16),
            rowScale: cut(staged.rowScale, 1),
            rows: cut(staged.rows, k),
          },
          slots: end - start,
          expertOffsets: turn.expertOffsets,
          alpha: scales?.subarray(expert * parts, (expert + 1) * parts) ?? null,
          out: cut(to, n),
        });
      });
    },

    scatterExperts(given) {
      const a = take.scatterExperts(given);
      check.scatterExperts(a, a === given);
      if (a.rows > 0) engine.scatterExperts(a);
    },

    nvfp4Loss(given) {
      const fn = 'nvfp4Loss';
      if (typeof given !== 'object' || given === null)
        throw new KindError(
          `${fn}: takes one object with its arguments by name, got ${given === null ? 'null' : typeof given}`,
        );
      const { x, rows, k, globalDecodeScale, codes, sf, sums } = given;
      checkInteger(fn, 'rows', rows, 0);
      checkInteger(fn, 'k', k, 16);
      checkMultiple(fn, 'k', k, 16);
      checkPositive(fn, 'globalDecodeScale', globalDecodeScale);
      ARRAYS.tensor(fn, 'x', x, 'f32', 'rows*k', rows * k);
      ARRAYS.tensor(fn, 'codes', codes, 'u8', 'rows*k/2', (rows * k) / 2);
      ARRAYS.tensor(fn, 'sf', sf, 'u8', 'rows*k/16', (rows * k) / 16);
      checkKind(fn, 'sums', sums, Float64Array);
      checkCapacity(fn, 'sums', sums, 'rows*3', rows * 3);
      if (rows > 0) engine.nvfp4Loss({ x, rows, k, globalDecodeScale, codes, sf, sums });
    },
  };
}

/** The name of a weight, for the end of a message. */
/** Throws when other threads can write to the ends, of which the kernels for some inputs see nothing but their number. */
function checkUnshared(fn: string, { expertOffsets }: Args<'stage'> | Args<'swigluStage'>): void {
  ARRAYS.unshared(fn, ARRAYS.place('expertOffsets', expertOffsets, expertOffsets.length));
}

function called(name: string): string {
  return name === '' ? '' : ` (${name})`;
}

/** What both stagings take: whole blocks and usable scales for nvfp4, no scales for the others. */
function checkStaging(fn: string, a: Args<'stage'> | Args<'swigluStage'>, arg: string, k: number): void {
  const { inputs, globalDecodeScale, expertOffsets } = a;
  if (inputs === 'nvfp4') {
    checkMultiple(fn, arg, k, 16);
    if (globalDecodeScale !== null) checkGlobalScales(fn, globalDecodeScale, expertOffsets);
  } else if (globalDecodeScale !== null) {
    throw new ValueError(`${fn}: "globalDecodeScale" must be null for inputs "${inputs}": they are not scaled`);
  }
}

/** Whether what is staged can be multiplied with the weights. */
function checkProduct(fn: string, w: PackedExpertsWeight, staged: HostStaged, rows: number): void {
  if (staged.k === 0) throw new ValueError(`${fn}: "staged" is empty: stage rows into it first`);
  if (staged.k !== w.k)
    throw new ShapeError(
      `${fn}: "staged" must hold rows of w.k = ${w.k} elements, got rows of ${staged.k}${called(w.name)}`,
    );
  if (rows > staged.filled)
    throw new ValueError(
      `${fn}: "expertOffsets" must end at or below the ${staged.filled} rows of "staged", got ${rows}`,
    );
  if (staged.inputs === 'nvfp4' && w.format !== 'nvfp4')
    throw new ValueError(`${fn}: "w" must hold nvfp4 weights for inputs "nvfp4", got ${w.format}${called(w.name)}`);
}
