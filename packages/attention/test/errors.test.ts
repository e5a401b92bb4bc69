import { ShapeError, UnsupportedError } from '@megamoe/core';
import { describe, expect, it } from 'vitest';
import { attentionAddonInfo, createAttentionKernels, createRope, SequenceState } from '../src/index';
import type { KernelOptions, LayerState } from '../src/index';
import { chooseIsa, nativeAddon } from '../src/native';
import type { NativeAddon } from '../src/native';
import { BACKENDS, ISAS } from './backends';

const f = (n: number): Float32Array => new Float32Array(n);
const i = (n: number): Int32Array => new Int32Array(n);
const ROPE = createRope({ ropeDim: 2, theta: 100 });
/** CSA, head 4, window 3, 8 of 12 tokens seen: ringCap 7, two entries. */
function layerAt8(): LayerState {
  const state = new SequenceState({
    layers: [{ ratio: 4, window: 3, headDim: 4, indexHeadDim: 2 }],
    maxTokens: 12,
    maxChunk: 5,
  });
  const layer = state.layers[0]!;
  layer.position = layer.compressor!.position = layer.indexer!.position = 8;
  return layer;
}
const WEIGHTS = { ape: f(32), norm: f(4) };
const wrong = <T>(v: unknown): T => v as T;

describe.each(BACKENDS)('what $name refuses, before it writes', ({ kernels: k }) => {
  const l = layerAt8;
  const inf = Infinity;
  const both = f(64);
  it.each<[string, () => unknown, string]>([
    [
      'rope m',
      () => k.rope(f(8), -1, 1, 4, 2, f(4), f(4), false),
      'ValueError: rope: "m" must be an integer in [0, 2147483647], got -1',
    ],
    [
      'rope heads',
      () => k.rope(f(8), 1, 0, 4, 2, f(4), f(4), false),
      'rope: "heads" must be an integer in [1, 2147483647], got 0',
    ],
    [
      'rope d',
      () => k.rope(f(8), 1, 1, NaN, 2, f(4), f(4), false),
      'rope: "d" must be an integer in [1, 2147483647], got NaN',
    ],
    [
      'rope odd',
      () => k.rope(f(8), 1, 1, 4, 3, f(4), f(4), false),
      'ShapeError: rope: "ropeDim" must be a multiple of 2, got 3',
    ],
    [
      'rope wide',
      () => k.rope(f(8), 1, 1, 4, 6, f(4), f(4), false),
      'rope: "ropeDim" must be an integer in [0, 4], got 6',
    ],
    [
      'rope x',
      () => k.rope(f(7), 1, 2, 4, 2, f(4), f(4), false),
      'rope: "x" must hold at least m*heads*d = 8 elements, got 7',
    ],
    [
      'rope cos',
      () => k.rope(f(8), 2, 1, 4, 4, f(3), f(4), false),
      'rope: "cos" must hold at least m*ropeDim/2 = 4 elements, got 3',
    ],
    [
      'rope sin',
      () => k.rope(f(8), 2, 1, 4, 4, f(4), f(3), false),
      'rope: "sin" must hold at least m*ropeDim/2 = 4 elements, got 3',
    ],
    [
      'rope inverse',
      () => k.rope(f(8), 1, 1, 4, 2, f(4), f(4), wrong(1)),
      'KindError: rope: "inverse" must be a boolean, got number',
    ],
    [
      'rope aliased',
      () => k.rope(both, 1, 1, 4, 2, both, f(4), false),
      'ValueError: rope: "x" and "cos" must not overlap in memory',
    ],
    [
      'rope kind',
      () => k.rope(wrong(new Float64Array(8)), 1, 1, 4, 2, f(4), f(4), false),
      'KindError: rope: "x" must be a Float32Array, got Float64Array',
    ],
    [
      'window position',
      () => k.writeWindow(l(), f(40), 0, 1, 7),
      'ValueError: writeWindow: "p0" must be the next position = 8, got 7',
    ],
    [
      'window NaN',
      () => k.writeWindow(l(), f(40), 0, 1, NaN),
      'writeWindow: "p0" must be the next position = 8, got NaN',
    ],
    [
      'window chunk',
      () => k.writeWindow(l(), f(40), 0, 6, 8),
      'ShapeError: writeWindow: "n" must be at most maxChunk = 5, got 6',
    ],
    [
      'window end',
      () => k.writeWindow(l(), f(40), 0, 5, 8),
      'ShapeError: writeWindow: position p0+n-1 = 12 is beyond maxTokens = 12',
    ],
    [
      'window kv',
      () => k.writeWindow(l(), f(7), 1, 1, 8),
      'writeWindow: "kv" must hold at least (row0+n)*headDim = 8 elements, got 7',
    ],
    ['window row0', () => k.writeWindow(l(), f(40), -1, 1, 8), 'writeWindow: "row0" must be an integer'],
    ['window n', () => k.writeWindow(l(), f(40), 0, 0.5, 8), 'writeWindow: "n" must be an integer'],
    [
      'compress position',
      () => k.compress(l().compressor!, f(64), f(64), 0, 1, 9, WEIGHTS, 0, ROPE),
      'ValueError: compress: "p0" must be the next position = 8, got 9',
    ],
    [
      'compress end',
      () => k.compress(l().compressor!, f(64), f(64), 0, 5, 8, WEIGHTS, 0, ROPE),
      'ShapeError: compress: position p0+n-1 = 12 is beyond maxTokens = 12',
    ],
    [
      'compress kv',
      () => k.compress(l().compressor!, f(7), f(64), 0, 1, 8, WEIGHTS, 0, ROPE),
      'compress: "kv" must hold at least (row0+n)*width = 8 elements, got 7',
    ],
    [
      'compress gate',
      () => k.compress(l().compressor!, f(64), f(7), 0, 1, 8, WEIGHTS, 0, ROPE),
      'compress: "gate" must hold at least (row0+n)*width = 8 elements, got 7',
    ],
    [
      'compress ape',
      () => k.compress(l().compressor!, f(64), f(64), 0, 1, 8, { ...WEIGHTS, ape: f(16) }, 0, ROPE),
      'compress: "weights.ape" must have length ratio*width = 32, got 16',
    ],
    [
      'compress norm',
      () => k.compress(l().compressor!, f(64), f(64), 0, 1, 8, { ...WEIGHTS, norm: f(8) }, 0, ROPE),
      'compress: "weights.norm" must have length dim = 4, got 8',
    ],
    [
      'compress eps',
      () => k.compress(l().compressor!, f(64), f(64), 0, 1, 8, WEIGHTS, -1, ROPE),
      'compress: "rmsNormEps" must be a finite number in [0, Infinity], got -1',
    ],
    [
      'compress rope',
      () => k.compress(l().compressor!, f(64), f(64), 0, 1, 8, WEIGHTS, 0, createRope({ ropeDim: 6, theta: 2 })),
      'compress: "ropeDim" must be an integer in [0, 4], got 6',
    ],
    [
      'compress invFreq',
      () => k.compress(l().compressor!, f(64), f(64), 0, 1, 8, WEIGHTS, 0, { ropeDim: 4, invFreq: f(1) }),
      'compress: "rope.invFreq" must have length ropeDim/2 = 2, got 1',
    ],
    [
      'select early',
      () => k.indexSelect(l().indexer!, f(64), f(64), 0, 2, 7, 1, 1, i(9)),
      'ValueError: indexSelect: positions [7, 9) must have been compressed first: the state has seen 8 tokens',
    ],
    [
      'select q',
      () => k.indexSelect(l().indexer!, f(3), f(64), 1, 1, 7, 1, 1, i(9)),
      'indexSelect: "q" must hold at least (row0+n)*heads*dim = 4 elements, got 3',
    ],
    [
      'select weights',
      () => k.indexSelect(l().indexer!, f(64), f(1), 0, 1, 7, 2, 1, i(9)),
      'indexSelect: "headWeights" must hold at least (row0+n)*heads = 2 elements, got 1',
    ],
    [
      'select out',
      () => k.indexSelect(l().indexer!, f(64), f(64), 0, 2, 6, 1, 5, i(9)),
      'indexSelect: "selected" must hold at least n*topk = 10 elements, got 9',
    ],
    [
      'select heads',
      () => k.indexSelect(l().indexer!, f(64), f(64), 0, 1, 7, 0, 1, i(9)),
      'indexSelect: "heads" must be',
    ],
    [
      'select topk',
      () => k.indexSelect(l().indexer!, f(64), f(64), 0, 1, 7, 1, -1, i(9)),
      'indexSelect: "topk" must be',
    ],
    [
      'select kind',
      () => k.indexSelect(l().indexer!, f(64), f(64), 0, 1, 7, 1, 1, wrong(f(9))),
      'KindError: indexSelect: "selected" must be a Int32Array, got Float32Array',
    ],
    [
      'attend q',
      () => k.attend(l(), f(7), 0, 1, 2, i(1), 1, i(1), f(2), 1, f(8)),
      'attend: "q" must hold at least (row0+n)*heads*headDim = 8 elements, got 7',
    ],
    [
      'attend out',
      () => k.attend(l(), f(64), 1, 1, 1, i(1), 1, i(1), f(1), 1, f(7)),
      'attend: "out" must hold at least (row0+n)*heads*headDim = 8 elements, got 7',
    ],
    [
      'attend sinks',
      () => k.attend(l(), f(64), 0, 1, 2, i(1), 1, i(1), f(3), 1, f(8)),
      'attend: "sinks" must have length heads = 2, got 3',
    ],
    [
      'attend NaN sink',
      () => k.attend(l(), f(64), 0, 1, 2, i(1), 1, i(1), Float32Array.of(0, NaN), 1, f(8)),
      'ValueError: attend: "sinks" must not be NaN, got NaN at index 1',
    ],
    [
      'attend scale',
      () => k.attend(l(), f(64), 0, 1, 1, i(1), 1, i(1), f(1), inf, f(8)),
      'attend: "softmaxScale" must be a finite number in [-Infinity, Infinity], got Infinity',
    ],
    [
      'attend keyIndex',
      () => k.attend(l(), f(64), 0, 2, 1, i(5), 3, i(2), f(1), 1, f(8)),
      'attend: "keyIndex" must hold at least n*keyCap = 6 elements, got 5',
    ],
    [
      'attend keyCount',
      () => k.attend(l(), f(64), 0, 2, 1, i(6), 3, i(1), f(1), 1, f(8)),
      'attend: "keyCount" must hold at least n = 2 elements, got 1',
    ],
    [
      'attend count',
      () => k.attend(l(), f(64), 0, 1, 1, i(6), 3, Int32Array.of(4), f(1), 1, f(8)),
      'attend: "keyCount[0]" must be an integer in [0, 3], got 4',
    ],
    [
      'attend index',
      () => k.attend(l(), f(64), 0, 1, 1, Int32Array.of(0, 9), 2, Int32Array.of(2), f(1), 1, f(8)),
      'attend: "keyIndex" must be in [0, 7) (ring) or [7, 9) (entries), got 9 at row 0, index 1',
    ],
    [
      'attend negative',
      () => k.attend(l(), f(64), 0, 1, 1, Int32Array.of(-1), 1, Int32Array.of(1), f(1), 1, f(8)),
      'got -1 at row 0, index 0',
    ],
    [
      'attend aliased',
      () => k.attend(l(), both, 0, 1, 1, i(1), 1, i(1), f(1), 1, both.subarray(3)),
      'attend: "out" and "q" must not overlap in memory',
    ],
  ])('%s', (_, call, message) => {
    let text = '';
    try {
      call();
    } catch (error) {
      text = String(error);
    }
    expect(text).toContain(message);
  });
  it('a refused call leaves state and output as they were', () => {
    const layer = l();
    const out = f(8).fill(5);
    expect(() => k.attend(layer, f(64), 0, 1, 1, Int32Array.of(11), 1, Int32Array.of(1), f(1), 1, out)).toThrow(
      RangeError,
    );
    expect(() => k.writeWindow(layer, f(2), 0, 1, 8)).toThrow(ShapeError);
    expect(() => k.compress(layer.compressor!, f(2), f(2), 0, 1, 8, WEIGHTS, 0, ROPE)).toThrow(ShapeError);
    expect(Array.from(out)).toEqual(Array.from(f(8).fill(5)));
    expect([layer.position, layer.compressor!.position]).toEqual([8, 8]);
  });
});

describe('createAttentionKernels', () => {
  it.each<[object, string]>([
    [{ backend: 'gpu' }, '"backend" must be one of js, native, auto, got gpu'],
    [{ isa: 'avx9' }, '"isa" must be one of auto, generic, avx2, avx512, neon, neon-dotprod, got avx9'],
    [{ threads: 0 }, '"threads" must be an integer in [1, 256], got 0'],
    [{ threads: 1.5 }, '"threads" must be an integer in [1, 256], got 1.5'],
  ])('refuses %j', (options, message) => {
    expect(() => createAttentionKernels(options as KernelOptions)).toThrow(`createAttentionKernels: ${message}`);
  });
  it('says what it chose', () => {
    expect(createAttentionKernels({ backend: 'js', threads: 7 })).toMatchObject({
      backend: 'js',
      isa: 'js',
      threads: 1,
    });
    expect(BACKENDS.slice(1).map(({ kernels }) => kernels.isa)).toEqual(ISAS.flatMap((isa) => [isa, isa]));
    if (ISAS.length > 0) expect(createAttentionKernels({ isa: 'auto' }).isa).toBe(ISAS[0]);
  });
  it('lists the instruction sets that are here when asked for one that is not', () => {
    const addon = { isa: 'avx2', isas: ['avx2', 'generic'] } as unknown as NativeAddon;
    expect(chooseIsa('f', addon, 'auto')).toBe('avx2');
    expect(chooseIsa('f', addon, 'generic')).toBe('generic');
    expect(() => chooseIsa('f', addon, 'avx512')).toThrow(
      new UnsupportedError('f: isa "avx512" is not here: this machine has avx2, generic'),
    );
  });
  it.runIf(ISAS.length > 0)('refuses the instruction sets of other processors', () => {
    const foreign = process.arch === 'arm64' ? 'avx2' : 'neon';
    expect(() => createAttentionKernels({ isa: foreign })).toThrow(
      `createAttentionKernels: isa "${foreign}" is not here: this machine has ${ISAS.join(', ')}`,
    );
  });
  it('without the addon native is an error that says why, and auto is js', () => {
    const before = process.env['MEGAMOE_DISABLE_NATIVE'];
    process.env['MEGAMOE_DISABLE_NATIVE'] = '1';
    try {
      expect(attentionAddonInfo()).toMatchObject({ name: 'attention', loaded: false });
      expect(createAttentionKernels().backend).toBe('js');
      expect(() => createAttentionKernels({ backend: 'native' })).toThrow(
        'createAttentionKernels: backend "native" is not here: disabled by MEGAMOE_DISABLE_NATIVE=1',
      );
    } finally {
      if (before === undefined) delete process.env['MEGAMOE_DISABLE_NATIVE'];
      else process.env['MEGAMOE_DISABLE_NATIVE'] = before;
    }
  });
});

// The binding's own guards, which TypeScript's checks normally stand in front of.
const { addon } = nativeAddon();
describe.each(addon ? [{ addon }] : [])('the addon called directly', ({ addon }) => {
  type Call = (...args: unknown[]) => unknown;
  const good: Record<string, unknown[]> = {
    rope: [0, 1, f(8), 2, 1, 4, 2, f(2), f(2), false],
    compress: [
      0,
      1,
      f(32),
      f(32),
      0,
      4,
      0,
      4,
      4,
      8,
      f(32),
      f(4),
      1e-6,
      2,
      f(1),
      f(1),
      f(4),
      f(32),
      f(32),
      f(16),
      f(16),
    ],
    indexSelect: [0, 1, f(4), 4, 2, f(8), f(4), 0, 4, 4, 1, 2, i(8)],
    attend: [0, 1, f(8), 2, f(4), 4, f(4), 0, 1, 1, i(2), 2, Int32Array.of(2), f(1), 1, f(4)],
  };
  it.each(Object.keys(good))('%s takes the right arguments', (name) => {
    expect((addon[name as 'rope'] as Call)(...good[name]!)).toBeUndefined();
  });
  it.each(Object.keys(good))('%s throws for every argument gone wrong, and never crashes', (name) => {
    const call = addon[name as 'rope'] as Call;
    expect(() => call()).toThrow(`${name}: expected ${good[name]!.length} arguments, got 0`);
    expect(() => call(...good[name]!, 1)).toThrow('expected');
    good[name]!.forEach((value, at) => {
      const bad = (v: unknown) => () => call(...good[name]!.map((x, j) => (j === at ? v : x)));
      for (const v of [null, undefined, 'x', {}, new Float64Array(64), new DataView(new ArrayBuffer(64))]) {
        expect(bad(v), `argument ${at} = ${String(v)}`).toThrow();
      }
      if (typeof value === 'number' && !(name === 'attend' && at === 14) && !(name === 'compress' && at === 12)) {
        for (const v of [-1, 0.5, NaN, Infinity, 2 ** 31, 2 ** 53]) expect(bad(v), `argument ${at} = ${v}`).toThrow();
      }
      // attend's entries (argument 4) may be empty: its plan lists ring rows only.
      if (ArrayBuffer.isView(value) && !(name === 'attend' && at === 4)) {
        expect(bad(value instanceof Float32Array ? f(0) : i(0)), `argument ${at} empty`).toThrow(RangeError);
      }
    });
  });
  it('attend guards counts and indices', () => {
    const attend = addon.attend as Call;
    const call = (index: number, count: number) => () =>
      attend(
        ...good['attend']!.map((x, j) => (j === 10 ? Int32Array.of(0, index) : j === 12 ? Int32Array.of(count) : x)),
      );
    expect(call(2, 2)).not.toThrow();
    for (const index of [-1, 3, 2 ** 31 - 1]) expect(call(index, 2)).toThrow('"keyIndex" is outside ring and entries');
    for (const count of [-1, 3]) expect(call(0, count)).toThrow('"keyCount" must be in [0, keyCap]');
  });
  it('compress guards widths and ratios', () => {
    const compress = addon.compress as Call;
    const call = (change: Record<number, unknown>) => () =>
      compress(...good['compress']!.map((x, j) => (j in change ? change[j] : x)));
    expect(call({ 9: 6 })).toThrow('"width" must be dim or 2*dim');
    expect(call({ 7: 65 })).toThrow('"ratio" is too large for overlapping windows');
    expect(call({ 7: 129 })).toThrow('"ratio" must be an integer in [1, 128]');
    expect(call({ 13: 3 })).toThrow('"ropeDim" must be even, got 3');
  });
});
