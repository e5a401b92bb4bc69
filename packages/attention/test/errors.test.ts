import { ShapeError } from '@megamoe/core';
import type { KernelOptions } from '@megamoe/native-kit';
import { PagePool, pageKindsOf, SequencePages, StepRows, type LayerSpec, type RopeHandle } from '@megamoe/ops';
import { describe, expect, it } from 'vitest';
import { attentionAddonInfo, createAttentionKernels } from '../src/index';
import { BACKENDS, ISAS } from './backends';
import { oneLayer } from './one-layer';

const f = (n: number): Float32Array => new Float32Array(n);
const i = (n: number): Int32Array => new Int32Array(n);
const wrong = <T>(v: unknown): T => v as T;
const messageOf = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    return String(error);
  }
  return 'no error';
};

describe.each(BACKENDS)('what $name refuses, before it writes', ({ kernels: k }) => {
  /** CSA, head 4, window 3, 7 tokens seen and two in the step: they see 2 entries each. */
  const home = () => oneLayer(k, { ratio: 4, window: 3, headDim: 4, indexHeadDim: 2 }, 7, 2);
  const swa = () => oneLayer(k, { ratio: 0, window: 3, headDim: 4 }, 7, 2);
  const both = f(64);

  const rope = (change: object) => () =>
    k.rope({ x: f(8), rows: 1, heads: 1, d: 4, ropeDim: 2, cos: f(4), sin: f(4), inverse: false, ...change });
  const tables = (change: object) => () => {
    const handle = k.createRope({ ropeDim: 4, theta: 10 });
    k.ropeTables({ rope: handle, positions: i(2), rows: 2, cos: f(4), sin: f(4), ...change });
  };
  const window = (change: object) => () => k.writeWindow({ ...home(), d: 4, kv: f(8), ...change });
  const weights = (ape: number, norm: number) => k.packCompressor(f(ape), f(norm));
  const compress = (change: object) => () => {
    const shape = { indexer: false, width: 8, kv: f(16), gate: f(16), eps: 0 };
    k.compress({ ...home(), ...shape, weights: weights(32, 4), ...change });
  };
  const select = (change: object) => () =>
    k.indexSelect({ ...home(), q: f(4), headWeights: f(2), heads: 1, dim: 2, topk: 1, selected: i(2), ...change });
  const attend = (change: object) => () => {
    const shape = { q: f(8), heads: 1, d: 4, selected: Int32Array.of(0, 1), topk: 1 };
    k.attend({ ...home(), ...shape, sinks: f(1), softmaxScale: 1, out: f(8), ...change });
  };

  it.each<[string, () => unknown, string]>([
    ['rope without arguments', () => k.rope(wrong(null)), 'KindError: rope: takes one object with its arguments by name, got null'],
    ['rope rows', rope({ rows: -1 }), 'ValueError: rope: "rows" must be an integer at least 0, got -1'],
    ['rope heads', rope({ heads: 0 }), 'rope: "heads" must be an integer at least 1, got 0'],
    ['rope d', rope({ d: NaN }), 'rope: "d" must be an integer at least 1, got NaN'],
    ['rope odd', rope({ ropeDim: 3 }), 'ShapeError: rope: "ropeDim" must be a multiple of 2, got 3'],
    ['rope wide', rope({ ropeDim: 6 }), 'rope: "ropeDim" must be an integer in [0, 4], got 6'],
    ['rope x', rope({ heads: 3 }), 'rope: "x" must hold at least rows*heads*d = 12 elements, got 8'],
    ['rope cos', rope({ ropeDim: 4, rows: 2, cos: f(3) }), 'rope: "cos" must hold at least rows*ropeDim/2 = 4 elements, got 3'],
    ['rope sin', rope({ ropeDim: 4, rows: 2, sin: f(3) }), 'rope: "sin" must hold at least rows*ropeDim/2 = 4 elements, got 3'],
    ['rope inverse', rope({ inverse: 1 }), 'KindError: rope: "inverse" must be a boolean, got number'],
    ['rope aliased', rope({ x: both, cos: both }), 'ShapeError: rope: "x" must not overlap "cos"'],
    ['rope kind', rope({ x: new Float64Array(8) }), 'KindError: rope: "x" must be a Float32Array, got Float64Array'],

    ['tables rope', tables({ rope: { ropeDim: 4 } }), 'KindError: ropeTables: "rope" must be what createRope of the attention kernels made, got Object'],
    ['tables rows', tables({ rows: 3 }), 'ropeTables: "positions" must hold at least rows = 3 elements, got 2'],
    ['tables cos', tables({ cos: f(3) }), 'ropeTables: "cos" must hold at least rows*rope.ropeDim/2 = 4 elements, got 3'],
    ['tables sin', tables({ sin: f(3) }), 'ropeTables: "sin" must hold at least rows*rope.ropeDim/2 = 4 elements, got 3'],
    ['tables position', tables({ positions: Int32Array.of(0, -1) }), 'ropeTables: "positions" must hold values in [0, 2147483647), got -1 at index 1'],
    ['tables kind', tables({ positions: [0, 1] }), 'ropeTables: "positions" must be a Int32Array, got Array'],

    ['window cache', window({ cache: null }), 'KindError: writeWindow: "cache" must be what createCache of the attention kernels made, got null'],
    ['window step', window({ step: {} }), 'KindError: writeWindow: "step" must be what createStep of the attention kernels made, got Object'],
    ['window layer', window({ layer: 1 }), 'writeWindow: "layer" must be an integer in [0, 0], got 1'],
    ['window d', window({ d: 3 }), 'ShapeError: writeWindow: "d" must be headDim = 4 of layer 0, got 3'],
    ['window kv', window({ kv: f(7) }), 'writeWindow: "kv" must hold at least step.rows*d = 8 elements, got 7'],
    ['window unplanned', window({ step: k.createStep(4) }), 'ValueError: writeWindow: "step" has not been planned: call planStep with this cache first'],
    ['window of another cache', window({ step: swa().step }), 'ValueError: writeWindow: "step" is planned for another cache: call planStep with this cache first'],

    ['compress kv', compress({ kv: f(15) }), 'compress: "kv" must hold at least step.rows*width = 16 elements, got 15'],
    ['compress gate', compress({ gate: f(15) }), 'compress: "gate" must hold at least step.rows*width = 16 elements, got 15'],
    ['compress width', compress({ width: 4 }), 'ShapeError: compress: "width" must be 2*headDim = 8 of layer 0, got 4'],
    ['compress indexer width', compress({ indexer: true }), 'compress: "width" must be 2*indexHeadDim = 4 of layer 0, got 8'],
    ['compress indexer', compress({ indexer: 0 }), 'KindError: compress: "indexer" must be a boolean, got number'],
    ['compress weights', compress({ weights: { ape: f(32), norm: f(4) } }), 'compress: "weights" must be what packCompressor of the attention kernels made, got Object'],
    ['compress ape', compress({ weights: weights(16, 4) }), 'ShapeError: compress: "weights" must have ape of ratio*width = 32 elements for layer 0, got 16'],
    ['compress norm', compress({ weights: weights(32, 8) }), 'compress: "weights" must have norm of headDim = 4 elements for layer 0, got 8'],
    ['compress eps', compress({ eps: -1 }), 'compress: "eps" must be a finite number in [0, Infinity], got -1'],
    ['compress nothing', compress(swa()), 'UnsupportedError: compress: layer 0 has no compressor: its compress ratio is 0'],
    ['compress unplanned', compress({ step: k.createStep(4) }), 'compress: "step" has not been planned'],

    ['select q', select({ q: f(3) }), 'indexSelect: "q" must hold at least step.rows*heads*dim = 4 elements, got 3'],
    ['select weights', select({ headWeights: f(1) }), 'indexSelect: "headWeights" must hold at least step.rows*heads = 2 elements, got 1'],
    ['select out', select({ topk: 5, selected: i(9) }), 'indexSelect: "selected" must hold at least step.rows*topk = 10 elements, got 9'],
    ['select heads', select({ heads: 0 }), 'indexSelect: "heads" must be an integer at least 1, got 0'],
    ['select dim', select({ dim: 1 }), 'ShapeError: indexSelect: "dim" must be indexHeadDim = 2 of layer 0, got 1'],
    ['select topk', select({ topk: -1 }), 'indexSelect: "topk" must be an integer at least 0, got -1'],
    ['select kind', select({ selected: f(9) }), 'KindError: indexSelect: "selected" must be a Int32Array, got Float32Array'],
    ['select nothing', select({ ...swa(), dim: 2 }), 'UnsupportedError: indexSelect: layer 0 has no indexer: its compress ratio is 0'],
    ['select unplanned', select({ step: k.createStep(4) }), 'indexSelect: "step" has not been planned'],

    ['attend q', attend({ q: f(7) }), 'attend: "q" must hold at least step.rows*heads*d = 8 elements, got 7'],
    ['attend out', attend({ out: f(7) }), 'attend: "out" must hold at least step.rows*heads*d = 8 elements, got 7'],
    ['attend d', attend({ d: 3 }), 'ShapeError: attend: "d" must be headDim = 4 of layer 0, got 3'],
    ['attend sinks', attend({ sinks: f(0) }), 'attend: "sinks" must hold at least heads = 1 elements, got 0'],
    ['attend NaN sink', attend({ sinks: Float32Array.of(NaN) }), 'ValueError: attend: "sinks" must not be NaN, got NaN at index 0'],
    ['attend scale', attend({ softmaxScale: Infinity }), 'attend: "softmaxScale" must be a finite number in [-Infinity, Infinity], got Infinity'],
    ['attend aliased', attend({ q: both, out: both.subarray(3) }), 'ShapeError: attend: "out" must not overlap "q"'],
    ['attend short selection', attend({ topk: 2, selected: i(3) }), 'attend: "selected" must hold at least step.rows*topk = 4 elements, got 3'],
    ['attend future entry', attend({ selected: Int32Array.of(0, 2) }), 'ValueError: attend: "selected" must be in [0, 2) or -1, got 2 at row 1, index 0: that entry is not visible'],
    ['attend entry -2', attend({ selected: Int32Array.of(-2, 0) }), 'attend: "selected" must be in [0, 2) or -1, got -2 at row 0, index 0'],
    ['attend descending', attend({ topk: 2, selected: Int32Array.of(0, 1, 1, 0) }), 'ValueError: attend: "selected" must ascend, got 0 after 1 at row 1, index 1'],
    ['attend entry twice', attend({ topk: 2, selected: Int32Array.of(1, 1, 0, 1) }), 'attend: "selected" must ascend, got 1 after 1 at row 0, index 1'],
    ['attend padding inside', attend({ topk: 2, selected: Int32Array.of(0, 1, -1, 1) }), 'attend: "selected" must be padded with -1 at the end, got 1 at row 1, index 1'],
    ['attend selection without entries', attend(swa()), 'ValueError: attend: "selected" must be null for layer 0: its compress ratio is 0, there are no entries'],
    ['attend unplanned', attend({ step: k.createStep(4) }), 'attend: "step" has not been planned'],
  ])('%s', (_, call, message) => expect(messageOf(call)).toContain(message)); // prettier-ignore

  it('a refused call leaves memory and output as they were', () => {
    const h = home();
    const out = f(8).fill(5);
    const shape = { q: f(8), heads: 1, d: 4, topk: 1, sinks: f(1), softmaxScale: 1, out };
    expect(() => k.attend({ ...h, ...shape, selected: Int32Array.of(0, 2) })).toThrow(RangeError);
    expect(() => k.writeWindow({ ...h, d: 4, kv: f(2).fill(1) })).toThrow(ShapeError);
    const bad = { indexer: false, width: 8, kv: f(16).fill(1), gate: f(2), eps: 0, weights: weights(32, 4) };
    expect(() => k.compress({ ...h, ...bad })).toThrow(ShapeError);
    expect(Array.from(out)).toEqual(Array.from(f(8).fill(5)));
    for (const part of ['window', 'openKv', 'entries'] as const) {
      expect((h.cache.part(0, part) as unknown as { data: Float32Array }).data.every((v) => v === 0)).toBe(true);
    }
  });

  it('what has been disposed is refused by name', () => {
    const h = home();
    h.cache.dispose();
    h.cache.dispose();
    expect(h.cache.bytes).toBe(0);
    expect(messageOf(() => k.writeWindow({ ...h, d: 4, kv: f(8) }))).toBe(
      'KindError: writeWindow: "cache" has been disposed',
    );
    const g = home();
    g.step[Symbol.dispose]();
    expect(messageOf(() => k.writeWindow({ ...g, d: 4, kv: f(8) }))).toBe(
      'KindError: writeWindow: "step" has been disposed',
    );
    expect(messageOf(() => g.step.ids.view(0, 1))).toContain('has been disposed');
  });
});

const kernels = createAttentionKernels({ backend: 'js' });

describe('handles', () => {
  const spec: LayerSpec = { ratio: 4, window: 3, headDim: 4, indexHeadDim: 2 };

  it.each<[string, unknown[], string]>([
    ['ratio 8', [{ ratio: 8, window: 1, headDim: 1 }], '"layers[0].ratio" must be one of 0, 4, 128, got 8'],
    ['window 0', [{ ratio: 0, window: 0, headDim: 1 }], '"layers[0].window" must be an integer in [1, 1073741824], got 0'],
    ['headDim 0', [{ ratio: 0, window: 1, headDim: 0 }], '"layers[0].headDim" must be an integer in [1, 65536], got 0'],
    ['two windows', [spec, { ...spec, window: 4 }], '"layers[1].window" must be that of the first layer = 3, got 4: all layers share'],
    ['keys in BF16', [{ ...spec, kv: 'bf16' }], '"layers[0].kv" must be f32 on this backend, got bf16'],
    ['CSA without indexer', [{ ratio: 4, window: 1, headDim: 1 }], '"layers[0].indexHeadDim" must be an integer in [1, 65536], got NaN'],
    ['HCA with indexer', [{ ratio: 128, window: 1, headDim: 1, indexHeadDim: 2 }], '"layers[0].indexHeadDim" belongs to ratio 4 only, got 2 with ratio 128'],
  ])('createCache refuses %s', (_, layers, message) => {
    expect(messageOf(() => kernels.createCache(layers as LayerSpec[]))).toContain(`createCache: ${message}`);
  }); // prettier-ignore

  it('a cache knows its parts, grows without losing rows, and copies pages', () => {
    const layers: { -readonly [K in keyof LayerSpec]: LayerSpec[K] }[] = [
      { ...spec },
      { ratio: 128, window: 3, headDim: 6 },
    ];
    const cache = kernels.createCache(layers);
    layers[0]!.window = 99;
    expect(cache.specs[0]!.window).toBe(3);
    expect([cache.layers, cache.bytes]).toEqual([2, 0]);
    const data = (layer: number, part: Parameters<typeof cache.part>[1]): Float32Array =>
      (cache.part(layer, part) as unknown as { data: Float32Array }).data;
    cache.grow('window', 2);
    data(0, 'window').fill(3);
    data(1, 'window')[64 * 6] = 7;
    const before = cache.part(0, 'window');
    cache.grow('window', 3);
    expect(() => before.view(0, 1)).toThrow('has been disposed');
    expect(cache.part(0, 'window').shape).toEqual([3 * 64, 4]);
    expect(
      data(0, 'window')
        .subarray(0, 2 * 64 * 4)
        .every((v) => v === 3),
    ).toBe(true);
    expect(
      data(0, 'window')
        .subarray(2 * 64 * 4)
        .every((v) => v === 0),
    ).toBe(true);
    cache.grow('window', 1); // never smaller
    expect(cache.part(1, 'window').shape).toEqual([3 * 64, 6]);
    cache.copyPage('window', 1, 2, 1);
    expect([data(1, 'window')[2 * 64 * 6], data(0, 'window')[(2 * 64 + 1) * 4]]).toEqual([7, 0]);
    cache.grow('open4', 1);
    cache.grow('entries4', 1);
    cache.grow('open128', 1);
    cache.grow('entries128', 1);
    expect(cache.part(0, 'openGate').shape).toEqual([64, 8]);
    expect(cache.part(0, 'indexOpenKv').shape).toEqual([64, 4]);
    expect(cache.part(0, 'indexEntries').shape).toEqual([64, 2]);
    expect(cache.part(1, 'openKv').shape).toEqual([64, 6]);
    expect(cache.part(1, 'entries').shape).toEqual([16, 6]);
    const floats = 3 * 64 * (4 + 6) + 64 * (2 * 8 + 2 * 4 + 4 + 2) + 64 * 2 * 6 + 16 * 6;
    expect(cache.bytes).toBe(4 * floats);
  });

  it.each<[string, (cache: ReturnType<typeof kernels.createCache>) => unknown, string]>([
    ['a part that a layer lacks', (c) => c.part(0, 'indexEntries'), 'UnsupportedError: cache.part: layer 0 has no indexEntries: its compress ratio is 0'],
    ['a part that no layer has', (c) => c.part(0, wrong('keys')), 'ValueError: cache.part: "part" must be one of window, entries, openKv, openGate, indexEntries, indexOpenKv, indexOpenGate, got keys'],
    ['a layer that it lacks', (c) => c.part(1, 'window'), 'cache.part: "layer" must be an integer in [0, 0], got 1'],
    ['pages that it lacks', (c) => c.grow('open4', 1), 'ShapeError: cache.grow: no layer has pages of kind open4; there are window'],
    ['a fraction of pages', (c) => c.grow('window', 0.5), 'cache.grow: "pages" must be an integer in [0, 33554431], got 0.5'],
    ['more pages than memory', (c) => c.grow('window', 2 ** 24), 'ValueError: cache.grow: no memory for 16777216 pages of kind window: 281474976710656 bytes for one layer'],
    ['a page that is not there', (c) => c.copyPage('window', 0, 1, 1), 'cache.copyPage: "from" must be an integer in [0, -1], got 0'],
  ])('a cache refuses %s', (_, call, message) => {
    const cache = kernels.createCache([{ ratio: 0, window: 1, headDim: 2 ** 16 }]);
    expect(messageOf(() => call(cache))).toContain(message);
    expect(cache.bytes).toBe(0);
  }); // prettier-ignore

  it('packCompressor takes Float32Arrays and keeps copies', () => {
    expect(messageOf(() => kernels.packCompressor(wrong([1]), f(1)))).toContain('packCompressor: "ape" must be a Float32Array, got Array'); // prettier-ignore
    expect(messageOf(() => kernels.packCompressor(f(1), wrong(i(1))))).toContain('packCompressor: "norm" must be a Float32Array, got Int32Array'); // prettier-ignore
    const ape = f(32);
    const weights = kernels.packCompressor(ape, f(4));
    const h = oneLayer(kernels, spec, 0, 1);
    ape.fill(9);
    kernels.compress({ ...h, indexer: false, width: 8, kv: f(8), gate: f(8), weights, eps: 0 });
    expect(h.at('openGate', 'open4', 0)).toEqual(f(8));
  });

  it.each([0, 65537, 1.5, NaN])('createStep refuses %s rows', (maxRows) => {
    expect(messageOf(() => kernels.createStep(maxRows))).toBe(`ValueError: createStep: "maxRows" must be an integer in [1, 65536], got ${maxRows}`); // prettier-ignore
  });
});

describe('planStep', () => {
  const specs: LayerSpec[] = [{ ratio: 128, window: 3, headDim: 4 }];
  const rope = kernels.createRope({ ropeDim: 4, theta: 10 });
  const make = (window = 3) => {
    const cache = kernels.createCache(specs);
    const kinds = pageKindsOf(specs);
    const pool = new PagePool(kinds, window, cache);
    return {
      cache,
      kinds,
      pool,
      pages: new SequencePages(pool),
      rows: new StepRows(8, kinds),
      step: kernels.createStep(4),
    };
  };

  it('takes in ids, positions and wanted rows', () => {
    const { cache, pages, rows, step } = make();
    pages.open(130);
    pages.reserve(133);
    rows.add(pages, [9, 10, 11, 12], 1, 3);
    rows.want(2);
    kernels.planStep(step, rows, cache, rope);
    const first = (tensor: unknown, n: number): number[] =>
      Array.from((tensor as { data: Int32Array }).data.subarray(0, n));
    expect([step.rows, step.sequences]).toEqual([3, 1]);
    expect(first(step.ids, 3)).toEqual([10, 11, 12]);
    expect(first(step.positions, 3)).toEqual([130, 131, 132]);
    expect(first(step.wantedRows, 1)).toEqual([2]);
    rows.clear();
    expect(step.rows).toBe(3);
  });

  it('refuses what is none of its handles', () => {
    const { cache, rows, step } = make();
    expect(messageOf(() => kernels.planStep(wrong({}), rows, cache, rope))).toContain('KindError: planStep: "step" must be what createStep'); // prettier-ignore
    expect(messageOf(() => kernels.planStep(step, wrong({}), cache, rope))).toContain('KindError: planStep: "rows" must be StepRows, got Object'); // prettier-ignore
    expect(messageOf(() => kernels.planStep(step, rows, wrong(null), rope))).toContain('planStep: "cache" must be what createCache'); // prettier-ignore
    expect(messageOf(() => kernels.planStep(step, rows, cache, { ropeDim: 4 } as RopeHandle))).toContain('planStep: "rope" must be what createRope'); // prettier-ignore
    const wide = kernels.createRope({ ropeDim: 6, theta: 10 });
    expect(messageOf(() => kernels.planStep(step, rows, cache, wide))).toContain('planStep: "rope" must turn no more than the 4 elements of an entry, got ropeDim = 6'); // prettier-ignore
  });

  it('refuses rows and pages that do not fit, and the step with them', () => {
    const { cache, pages, rows, step } = make();
    pages.reserve(5);
    rows.add(pages, i(2), 0, 2);
    kernels.planStep(step, rows, cache, rope);
    rows.clear();
    rows.add(pages, i(5), 0, 5);
    expect(messageOf(() => kernels.planStep(step, rows, cache, rope))).toBe('ShapeError: planStep: "rows" must be at most maxRows = 4 of the step, got 5'); // prettier-ignore
    expect(messageOf(() => kernels.writeWindow({ cache, step, layer: 0, d: 4, kv: f(8) }))).toContain('"step" has not been planned'); // prettier-ignore
    const swa = new StepRows(4, ['window']);
    expect(messageOf(() => kernels.planStep(step, swa, cache, rope))).toContain('planStep: "rows" must have pages of kind open128, as the cache has; got window'); // prettier-ignore
  });

  it('refuses pages of another pool, and a pool with a smaller window', () => {
    const { cache, pages, rows, step, pool, kinds } = make();
    const other = make();
    const many = Array.from({ length: 5 }, () => new SequencePages(other.pool));
    for (const one of many) one.reserve(1);
    pages.reserve(1); // four pages at once
    rows.add(many[4]!, i(1), 0, 1);
    expect(messageOf(() => kernels.planStep(step, rows, cache, rope))).toContain('ShapeError: planStep: sequence 0 of the step has page 4 of kind window, but the cache has 4: its pages must come from a pool with this cache as its memory'); // prettier-ignore
    void pool;
    const small = new SequencePages(new PagePool(kinds, 1, cache));
    small.open(64); // keeps nothing before token 64; a window of 3 needs token 62
    small.reserve(65);
    rows.clear();
    rows.add(small, i(1), 0, 1);
    expect(messageOf(() => kernels.planStep(step, rows, cache, rope))).toContain('ShapeError: planStep: sequence 0 of the step must have its pages of kind window for rows [62, 65), got [64, 128)'); // prettier-ignore
  });

  it('refuses a sequence that is there twice', () => {
    const { cache, pages, rows, step } = make();
    pages.reserve(2);
    rows.add(pages, i(1), 0, 1);
    rows.add(pages, i(1), 0, 1);
    expect(messageOf(() => kernels.planStep(step, rows, cache, rope))).toContain('ValueError: planStep: sequence 1 of the step writes window page 0, and so does one before it'); // prettier-ignore
  });
});

describe('createAttentionKernels', () => {
  it.each<[object, string]>([
    [{ backend: 'gpu' }, '"backend" must be one of auto, js, native, got gpu'],
    [{ isa: 'avx9' }, '"isa" must be one of auto, generic, avx2, avx512, neon, neon-dotprod, got avx9'],
    [{ threads: 0 }, '"threads" must be an integer in [1, 256], got 0'],
    [{ threads: 1.5 }, '"threads" must be an integer in [1, 256], got 1.5'],
  ])('refuses %j', (options, message) => {
    expect(() => createAttentionKernels(options as KernelOptions)).toThrow(`createAttentionKernels: ${message}`);
  });
  it('says what it chose', () => {
    const js = { backend: 'js', isa: 'js', threads: 1 };
    expect(createAttentionKernels({ backend: 'js', threads: 7 })).toMatchObject(js);
    expect(BACKENDS.slice(1).map((b) => b.kernels.isa)).toEqual(ISAS.flatMap((isa) => [isa, isa]));
    if (ISAS.length > 0) expect(createAttentionKernels({ isa: 'auto' }).isa).toBe(ISAS[0]);
  });
  it.runIf(ISAS.length > 0)('refuses the instruction sets of other processors', () => {
    const foreign = process.arch === 'arm64' ? 'avx2' : 'neon';
    expect(() => createAttentionKernels({ isa: foreign })).toThrow(
      `createAttentionKernels: instruction set "${foreign}" is not available; available: ${ISAS.join(', ')}`,
    );
  });
  it('without the addon native is an error that says why, and auto is js', () => {
    const before = process.env['MEGAMOE_DISABLE_NATIVE'];
    process.env['MEGAMOE_DISABLE_NATIVE'] = '1';
    try {
      expect(attentionAddonInfo()).toMatchObject({ name: 'attention', loaded: false });
      expect(createAttentionKernels().backend).toBe('js');
      expect(() => createAttentionKernels({ backend: 'native' })).toThrow(
        'createAttentionKernels: backend "native" is not available: addon attention disabled by MEGAMOE_DISABLE_NATIVE=1',
      );
    } finally {
      if (before === undefined) delete process.env['MEGAMOE_DISABLE_NATIVE'];
      else process.env['MEGAMOE_DISABLE_NATIVE'] = before;
    }
  });
});

describe.each(BACKENDS)('memory of the cache as an argument, on $name', ({ kernels: k }) => {
  it('is refused whichever part it is, also after an array that lies outside, and after the memory has grown', () => {
    const { cache, step, layer } = oneLayer(k, { ratio: 4, window: 3, headDim: 4, indexHeadDim: 2 }, 7, 2);
    const home = { cache, step, layer };
    const weights = k.packCompressor(f(32), f(4));
    const compress = { ...home, indexer: false, width: 8, kv: f(16), gate: f(16), eps: 0, weights };
    const select = { ...home, q: f(4), headWeights: f(2), heads: 1, dim: 2, topk: 1, selected: i(2) };
    const attend = { ...home, q: f(8), heads: 1, d: 4, selected: Int32Array.of(0, 1), topk: 1, sinks: f(1) };
    /** Each operation with something in the place of the argument that it must not share with the cache. */
    const calls: Record<string, (v?: Float32Array) => void> = {
      'writeWindow: "kv"': (v = f(8)) => k.writeWindow({ ...home, d: 4, kv: v }),
      'compress: "kv"': (v = f(16)) => k.compress({ ...compress, kv: v }),
      'compress: "gate"': (v = f(16)) => k.compress({ ...compress, gate: v }),
      'indexSelect: "selected"': (v) =>
        k.indexSelect({ ...select, ...(v && { selected: new Int32Array(v.buffer, v.byteOffset, 2) }) }),
      'attend: "out"': (v = f(8)) => k.attend({ ...attend, softmaxScale: 1, out: v }),
    };
    const refuseAll = (): void => {
      for (const part of [
        'window',
        'entries',
        'openKv',
        'openGate',
        'indexEntries',
        'indexOpenKv',
        'indexOpenGate',
      ] as const) {
        const { data } = cache.part(0, part) as unknown as { data: Float32Array };
        for (const [argument, call] of Object.entries(calls)) {
          expect(data.length, part).toBeGreaterThanOrEqual(16);
          call(); // an array outside, which is remembered
          expect(
            messageOf(() => call(data.subarray(0, 16))),
            part,
          ).toBe(`ShapeError: ${argument} must not lie in "cache"`);
        }
      }
    };
    refuseAll();
    for (const kind of ['window', 'entries4', 'open4'] as const) cache.grow(kind, 9);
    refuseAll();
  });
});
