import { describe, expect, it } from 'vitest';
import { createGemmKernels, stagedArrays, stageFrom } from '../src/index';
import type { LinearSource } from '../src/index';
import { BACKENDS } from './backends';
import {
  callByName,
  expertsSource,
  f32,
  i32,
  linearSource,
  rightArguments,
  thrown,
  twoRows,
  u8,
  type Op,
} from './right-arguments';

/** Two rows of 16 in NVFP4 that take no inputs in NVFP4. */
const nvfp4: LinearSource = {
  ...{ n: 2, k: 16, dtype: 'nvfp4', weightGlobalDecodeScale: f32(1) },
  data: { codes: u8(16), sf: u8(2) },
};

describe.each(BACKENDS)('arguments of operations on $name', ({ kernels: k }) => {
  const w = k.packLinear(linearSource);
  const e = k.packExperts(expertsSource);
  const dense = k.packExperts({
    ...{ ...expertsSource, name: 'ffn.w13', format: 'f32' },
    read: () => ({ data: f32(32) }),
  });
  const other = createGemmKernels({ backend: 'js' });
  const gone = k.createStaged({ slots: 1, k: 16, inputs: ['f32'] });
  gone.dispose();
  gone.dispose();
  const right = rightArguments(k);
  const call = (op: Op, change: unknown) => (): void => {
    callByName(k, op, typeof change === 'object' && change !== null ? { ...right[op], ...change } : change);
  };

  it.each(Object.keys(right) as Op[])('%s takes right arguments', (op) => {
    expect(thrown(call(op, {}))).toBe('nothing');
  });

  const cases: [Op, unknown, string][] = [
    ['rmsNorm', null, 'ERR_KIND rmsNorm: takes one object with its arguments by name, got null'],
    ['rmsNorm', 3, 'ERR_KIND rmsNorm: takes one object with its arguments by name, got number'],
    ['nvfp4Loss', undefined, 'ERR_KIND nvfp4Loss: takes one object with its arguments by name, got undefined'],
    // weights
    ['linear', { w: {} }, 'ERR_KIND linear: "w" must come from packLinear'],
    ['linear', { w: e }, 'ERR_KIND linear: "w" must come from packLinear'],
    ['groupedGemm', { w }, 'ERR_KIND groupedGemm: "w" must come from packExperts'],
    [
      'groupedGemm',
      { w: dense, alpha: null },
      'ERR_VALUE groupedGemm: "w" must hold nvfp4 weights for inputs "nvfp4", got f32 (ffn.w13)',
    ],
    [
      'embed',
      { table: k.packLinear({ n: 1, k: 3, groups: 2, dtype: 'f32', data: f32(6) }), ids: i32(0, 0), out: f32(6) },
      'ERR_SHAPE embed: "table" must have one group, got 2',
    ],
    [
      'embed',
      { table: k.packLinear(nvfp4), ids: i32(0, 0), out: f32(32) },
      'ERR_VALUE embed: "table" must be one of fp8, bf16, f32, got nvfp4',
    ],
    // linear
    ['linear', { rows: -1 }, 'ERR_VALUE linear: "rows" must be an integer at least 0, got -1'],
    ['linear', { inputs: 'fp8' }, 'ERR_VALUE linear: "inputs" must be one of f32, bf16, nvfp4, got fp8'],
    [
      'linear',
      { inputs: 'nvfp4' },
      'ERR_VALUE linear: "w" must be nvfp4 with an inputGlobalDecodeScale for inputs "nvfp4", got f32 without one',
    ],
    [
      'linear',
      { w: k.packLinear({ ...nvfp4, name: 'wo_b' }), inputs: 'nvfp4', x: f32(32) },
      'ERR_VALUE linear: "w" must be nvfp4 with an inputGlobalDecodeScale for inputs "nvfp4", got nvfp4 without one (wo_b)',
    ],
    ['linear', { x: new Float64Array(6) }, 'ERR_KIND linear: "x" must be a Float32Array, got Float64Array'],
    ['linear', { x: undefined }, 'ERR_KIND linear: "x" must be a Float32Array, got undefined'],
    ['linear', { x: f32(5) }, 'ERR_SHAPE linear: "x" must hold at least rows*w.groups*w.k = 6 elements, got 5'],
    ['linear', { out: f32(3) }, 'ERR_SHAPE linear: "out" must hold at least rows*w.groups*w.n = 4 elements, got 3'],
    ['embed', { ids: i32(0, 4) }, 'ERR_VALUE embed: "ids" must hold values in [0, 4), got 4 at index 1'],
    ['embed', { repeat: 0 }, 'ERR_VALUE embed: "repeat" must be an integer at least 1, got 0'],
    [
      'embed',
      { repeat: 2, out: f32(7) },
      'ERR_SHAPE embed: "out" must hold at least rows*repeat*table.k = 8 elements, got 7',
    ],
    // grouped
    ['groupedGemm', { expertOffsets: [1, 1] }, 'ERR_KIND groupedGemm: "expertOffsets" must be a Int32Array, got Array'],
    [
      'groupedGemm',
      { expertOffsets: i32(2, 1) },
      'ERR_VALUE groupedGemm: "expertOffsets" must be cumulative ends (no leading zero, never falling), got 1 after 2 at index 1',
    ],
    [
      'groupedGemm',
      { expertOffsets: i32(0, 3) },
      'ERR_VALUE groupedGemm: "expertOffsets" must end at or below slots = 2, got 3',
    ],
    [
      'groupedGemm',
      { expertOffsets: i32(0, 1, 1) },
      'ERR_SHAPE groupedGemm: "expertOffsets" must have length numExperts = 2, got 3',
    ],
    [
      'groupedGemm',
      { expertOffsets: i32(0) },
      'ERR_SHAPE groupedGemm: "expertOffsets" must hold at least w.numExperts = 2 elements, got 1',
    ],
    [
      'groupedGemm',
      { slots: 3, out: f32(12), expertOffsets: i32(0, 3) },
      'ERR_VALUE groupedGemm: "expertOffsets" must end at or below the 2 rows of "staged", got 3',
    ],
    ['groupedGemm', { staged: {} }, 'ERR_KIND groupedGemm: "staged" must come from createStaged'],
    ['groupedGemm', { staged: gone }, 'ERR_KIND groupedGemm: "staged" has been disposed'],
    [
      'groupedGemm',
      { staged: k.createStaged({ slots: 2, k: 16, inputs: ['nvfp4'] }) },
      'ERR_VALUE groupedGemm: "staged" is empty: stage rows into it first',
    ],
    [
      'groupedGemm',
      { staged: twoRows(k, 'nvfp4', 32) },
      'ERR_SHAPE groupedGemm: "staged" must hold rows of w.k = 16 elements, got rows of 32',
    ],
    [
      'groupedGemm',
      { alpha: f32(3) },
      'ERR_SHAPE groupedGemm: "alpha" must hold at least w.numExperts*w.parts = 4 elements, got 3',
    ],
    [
      'groupedGemm',
      { alpha: Float32Array.of(NaN, NaN, 1, Infinity) },
      'ERR_VALUE groupedGemm: "alpha" of expert 1, part 1 must be finite, got Infinity at index 3',
    ],
    ['groupedGemm', { out: f32(7) }, 'ERR_SHAPE groupedGemm: "out" must hold at least slots*w.n = 8 elements, got 7'],
    [
      'groupedGemm',
      { alpha: null },
      'ERR_KIND groupedGemm: "alpha" must be a Float32Array for nvfp4 weights, got null',
    ],
    [
      'groupedGemm',
      { w: dense, staged: twoRows(k, 'f32') },
      'ERR_VALUE groupedGemm: "alpha" must be null for f32 weights',
    ],
    // codes of someone else
    ['stageFrom', { staged: null }, 'ERR_KIND stageFrom: "staged" must come from createStaged'],
    ['stageFrom', { staged: gone }, 'ERR_KIND stageFrom: "staged" has been disposed'],
    [
      'stageFrom',
      { staged: twoRows(k, 'f32') },
      'ERR_VALUE stageFrom: "staged" was made for inputs f32, got "nvfp4": name it in createStaged',
    ],
    ['stageFrom', { k: 24 }, 'ERR_SHAPE stageFrom: "k" must be a multiple of 16, got 24'],
    [
      'stageFrom',
      { rows: 5, codes: u8(40), sf: u8(5), rowScale: null },
      'ERR_SHAPE stageFrom: "staged" holds at most slots = 4 rows of k = 32, got 5 of 16',
    ],
    ['stageFrom', { codes: u8(15) }, 'ERR_SHAPE stageFrom: "codes" must hold at least rows*k/2 = 16 elements, got 15'],
    ['stageFrom', { sf: u8(1) }, 'ERR_SHAPE stageFrom: "sf" must hold at least rows*k/16 = 2 elements, got 1'],
    [
      'stageFrom',
      { sf: Uint8Array.of(1, 0x80) },
      'ERR_VALUE stageFrom: "sf" must hold E4M3 scales that are numbers of at least 0, got 0x80 at index 1',
    ],
    ['stageFrom', { rowScale: f32(1) }, 'ERR_SHAPE stageFrom: "rowScale" must hold at least rows = 2 elements, got 1'],
    [
      'stageFrom',
      { rowScale: Float32Array.of(1, NaN) },
      'ERR_VALUE stageFrom: "rowScale" must be finite, got NaN at index 1',
    ],
    // staging
    ['stage', { k: 24, x: f32(48) }, 'ERR_SHAPE stage: "k" must be a multiple of 16, got 24'],
    ['stage', { slotToken: null, x: f32(16) }, 'ERR_SHAPE stage: "x" must hold at least R*k = 32 elements, got 16'],
    ['stage', { slotToken: i32(0, 1) }, 'ERR_SHAPE stage: "slotToken" must hold at least slots = 3 elements, got 2'],
    [
      'stage',
      { slotToken: i32(0, 2, -1) },
      'ERR_VALUE stage: "slotToken" must hold values in [-1, 2), got 2 at index 1',
    ],
    [
      'stage',
      { slotToken: i32(0, -1, -1) },
      'ERR_VALUE stage: "slotToken" must hold values in [0, 2), got -1 at index 1',
    ],
    [
      'stage',
      { slotToken: i32(0, 1, -1), x: f32(31) },
      'ERR_VALUE stage: "slotToken" must hold values in [-1, 1), got 1 at index 1', // the second row is not whole
    ],
    ['stage', { slots: NaN }, 'ERR_VALUE stage: "slots" must be an integer at least 0, got NaN'],
    ['stage', { expertOffsets: i32(1, 4) }, 'ERR_VALUE stage: "expertOffsets" must end at or below slots = 3, got 4'],
    [
      'stage',
      { slots: 5, slotToken: null },
      'ERR_SHAPE stage: "staged" holds at most slots = 4 rows of k = 32, got 5 of 16',
    ],
    ['stage', { k: 48, x: f32(96) }, 'ERR_SHAPE stage: "staged" holds at most slots = 4 rows of k = 32, got 3 of 48'],
    [
      'stage',
      { inputs: 'bf16', globalDecodeScale: null },
      'ERR_VALUE stage: "staged" was made for inputs nvfp4, f32, got "bf16": name it in createStaged',
    ],
    [
      'stage',
      { inputs: 'f32' },
      'ERR_VALUE stage: "globalDecodeScale" must be null for inputs "f32": they are not scaled',
    ],
    [
      'stage',
      { globalDecodeScale: f32(1) },
      'ERR_SHAPE stage: "globalDecodeScale" must hold at least expertOffsets.length = 2 elements, got 1',
    ],
    [
      'stage',
      { globalDecodeScale: Float32Array.of(0, 0), expertOffsets: i32(0, 1) },
      'ERR_VALUE stage: "globalDecodeScale" of expert 1 must be finite and at least 2^-117, got 0',
    ],
    ['swigluStage', { i: 24, gateUp: f32(96) }, 'ERR_SHAPE swigluStage: "i" must be a multiple of 16, got 24'],
    ['swigluStage', { limit: 0 }, 'ERR_VALUE swigluStage: "limit" must be above 0 (Infinity for none), got 0'],
    ['swigluStage', { limit: 1e-50 }, 'ERR_VALUE swigluStage: "limit" must be above 0 in float32, got 1e-50'],
    [
      'swigluStage',
      { gateUp: f32(63) },
      'ERR_SHAPE swigluStage: "gateUp" must hold at least slots*2*i = 64 elements, got 63',
    ],
    [
      'swigluStage',
      { globalDecodeScale: Float32Array.of(0, 1) },
      'ERR_VALUE swigluStage: "globalDecodeScale" of expert 0 must be finite and at least 2^-117, got 0',
    ],
    [
      'swigluStage',
      { slots: 5, gateUp: f32(160) },
      'ERR_SHAPE swigluStage: "staged" holds at most slots = 4 rows of k = 32, got 5 of 16',
    ],
    [
      'nvfp4Loss',
      { sums: new Float64Array(5) },
      'ERR_SHAPE nvfp4Loss: "sums" must hold at least rows*3 = 6 elements, got 5',
    ],
    [
      'nvfp4Loss',
      { globalDecodeScale: 0 },
      'ERR_VALUE nvfp4Loss: "globalDecodeScale" must be a finite number above 0, got 0',
    ],
    ['nvfp4Loss', { k: 24 }, 'ERR_SHAPE nvfp4Loss: "k" must be a multiple of 16, got 24'],
    // rows
    [
      'gatherRows',
      { index: i32(0, -1) },
      'ERR_VALUE gatherRows: "index" must hold values in [0, 2), got -1 at index 1',
    ],
    [
      'gatherRows',
      { x: f32(3) },
      'ERR_VALUE gatherRows: "index" must hold values in [0, 1), got 1 at index 1', // the second row is not whole
    ],
    ['gatherRows', { out: f32(3) }, 'ERR_SHAPE gatherRows: "out" must hold at least rows*d = 4 elements, got 3'],
    ['swiglu', { limit: 0 }, 'ERR_VALUE swiglu: "limit" must be above 0 (Infinity for none), got 0'],
    ['swiglu', { limit: NaN }, 'ERR_VALUE swiglu: "limit" must be above 0 (Infinity for none), got NaN'],
    ['swiglu', { gateUp: f32(1) }, 'ERR_SHAPE swiglu: "gateUp" must hold at least rows*2*i = 2 elements, got 1'],
    [
      'scatterExperts',
      { tokenSlots: i32(0, 2) },
      'ERR_VALUE scatterExperts: "tokenSlots" must hold values in [-1, 2), got 2 at index 1',
    ],
    [
      'scatterExperts',
      { topkWeights: f32(1) },
      'ERR_SHAPE scatterExperts: "topkWeights" must hold at least rows*topk = 2 elements, got 1',
    ],
    ['add', { x: f32(3) }, 'ERR_SHAPE add: "x" must hold at least n = 4 elements, got 3'],
    ['rmsNorm', { eps: -1 }, 'ERR_VALUE rmsNorm: "eps" must be a finite number in [0, Infinity], got -1'],
    ['rmsNorm', { weight: f32(3) }, 'ERR_SHAPE rmsNorm: "weight" must hold at least d = 4 elements, got 3'],
    // hyper-connections
    ['hcPost', { hc: 17 }, 'ERR_VALUE hcPost: "hc" must be an integer in [1, 16], got 17'],
    ['hcPost', { streams: f32(3) }, 'ERR_SHAPE hcPost: "streams" must hold at least rows*hc*d = 4 elements, got 3'],
    ['hcPost', { comb: f32(3) }, 'ERR_SHAPE hcPost: "comb" must hold at least rows*hc*hc = 4 elements, got 3'],
    ['hcHead', { fn: f32(7) }, 'ERR_SHAPE hcHead: "fn" must hold at least hc*hc*d = 8 elements, got 7'],
    ['hcPre', { gain: f32(2) }, 'ERR_SHAPE hcPre: "gain" must hold at least 3 elements, got 2'],
    ['hcPre', { iters: 0 }, 'ERR_VALUE hcPre: "iters" must be an integer in [1, 10000], got 0'],
  ];

  it.each(cases.map(([op, change, message]) => ({ op, change, message })))('$message', ({ op, change, message }) => {
    expect(thrown(call(op, change))).toBe(message);
  });

  it('weights of another backend and staged rows of any', () => {
    const message = (op: string): string =>
      k.backend === 'js' ? 'nothing' : `ERR_KIND ${op}: "w" was packed for "js", but these kernels read "native"`;
    expect(thrown(call('linear', { w: other.packLinear(linearSource) }))).toBe(message('linear'));
    expect(thrown(call('groupedGemm', { w: other.packExperts(expertsSource) }))).toBe(message('groupedGemm'));
    const foreign = other.createStaged({ slots: 2, k: 16, inputs: ['nvfp4'] });
    stageFrom({ staged: foreign, rows: 2, k: 16, codes: u8(16), sf: u8(2) });
    expect(thrown(call('groupedGemm', { staged: foreign }))).toBe('nothing');
  });

  it('an experts weight that has been disposed', () => {
    const mortal = k.packExperts(expertsSource);
    mortal.dispose();
    expect(thrown(call('groupedGemm', { w: mortal }))).toBe('ERR_KIND groupedGemm: "w" has been disposed');
  });

  it('what was staged wrongly is not there', () => {
    const s = twoRows(k, 'nvfp4');
    const x = f32(32);
    x[20] = NaN;
    expect(thrown(call('stage', { slotToken: null, slots: 2, x, staged: s }))).toBe(
      'ERR_VALUE stage: "x" must be finite for inputs "nvfp4", got NaN at index 20',
    );
    expect(thrown(call('groupedGemm', { staged: s }))).toBe(
      'ERR_VALUE groupedGemm: "staged" is empty: stage rows into it first',
    );
    expect(stagedArrays(s)).toMatchObject({ codes: new Uint8Array(0), sf: new Uint8Array(0) });
  });
});
