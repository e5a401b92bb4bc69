import { anyCalls, makeCalls, nearlyRightCalls } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { nativeAddon } from '../src/native';
import { ISAS } from './backends';

// The binding's own guards, which TypeScript's checks normally stand in front of.

/** What each function of the addon takes after table and threads, in the letters of `nearlyRightCalls`. */
const SIGNATURES = {
  rope: 'fnnnnfft',
  writeWindow: 'fnnif',
  compress: 'ffnnfiiffnninfenffif',
  indexSelect: 'ffnnnniiinfi',
  attend: 'fnnnfiiifiiifef',
};

const { addon } = nativeAddon();
const f = (n: number): Float32Array => new Float32Array(n);
const i = (...v: number[]): Int32Array => Int32Array.from(v);
type Call = (...args: unknown[]) => unknown;

it('the addon survives random arguments, without the checks in front of it: an error or a result, never a crash', () => {
  const functions = Object.entries(addon ?? {}).filter(([, v]) => typeof v === 'function');
  expect(functions.map(([name]) => name).sort()).toEqual(addon === undefined ? [] : Object.keys(SIGNATURES).sort());
  if (addon === undefined) return; // js only: there is no second line to test
  makeCalls(addon, anyCalls(Object.keys(SIGNATURES)), [], 4000);
  for (const table of ISAS.keys()) {
    const done = makeCalls(addon, nearlyRightCalls(SIGNATURES), [table, 2], 20_000);
    expect(Object.keys(done).sort()).toEqual(Object.keys(SIGNATURES).sort()); // each was reached with arguments that it accepts
  }
});

describe.each(addon ? [{ addon }] : [])('the addon called directly', ({ addon }) => {
  /** Arguments that are right, by name in their order. */
  const good = {
    rope: { table: 0, threads: 1, x: f(8), rows: 2, heads: 1, d: 4, ropeDim: 2, cos: f(2), sin: f(2), inverse: false },
    writeWindow: { table: 0, threads: 1, kv: f(8), rows: 2, d: 4, to: i(2, 0), window: f(12) },
    compress: {
      table: 0,
      threads: 1,
      kv: f(16),
      gate: f(16),
      rows: 2,
      width: 8,
      ape: f(32),
      apeRow: i(2, 3),
      openRow: i(5, 0),
      openKv: f(48),
      openGate: f(48),
      closed: 1,
      candidatesPerEntry: 8,
      candidates: i(-1, -1, -1, -1, 3, 4, 5, 0),
      dim: 4,
      norm: f(4),
      eps: 1e-6,
      ropeDim: 2,
      cos: f(1),
      sin: f(1),
      entryRow: i(1),
      entries: f(8),
    },
    indexSelect: {
      table: 0,
      threads: 1,
      q: f(8),
      headWeights: f(4),
      rows: 2,
      heads: 2,
      dim: 2,
      topk: 3,
      visible: i(9, 10),
      pageBase: i(1, 1),
      pageIds: i(99, 2, 0, 1),
      pageRows: 4,
      entries: f(24),
      selected: i(0, 0, 0, 0, 0, 0),
    },
    attend: {
      table: 0,
      threads: 1,
      q: f(8),
      rows: 2,
      heads: 1,
      d: 4,
      window: f(8),
      near: i(1, 0),
      nearStart: i(0, 1),
      nearCount: i(2, 1),
      entries: f(4),
      far: i(0),
      farStart: i(0, 0),
      farCount: i(0, 1),
      sinks: f(1),
      scale: 1,
      out: f(8),
    },
  };
  type Name = keyof typeof good;
  const names = Object.keys(good) as Name[];
  /** A call with some arguments changed. */
  const call =
    (name: Name, change: Readonly<Record<string, unknown>> = {}) =>
    () =>
      (addon[name] as Call)(...Object.values({ ...good[name], ...change }));
  /** Arguments that may be any number, and arrays that may be empty. */
  const free = ['eps', 'scale'];

  it.each(names)('%s takes the right arguments', (name) => expect(call(name)()).toBeUndefined());
  it.each(names)('%s throws for every argument gone wrong, and never crashes', (name) => {
    const count = Object.keys(good[name]).length;
    expect(() => (addon[name] as Call)()).toThrow(`${name}: expected ${count} arguments, got 0`);
    expect(() => (addon[name] as Call)(...Object.values(good[name]), 1)).toThrow('expected');
    for (const [arg, value] of Object.entries(good[name])) {
      for (const v of [null, undefined, 'x', {}, new Float64Array(64), new DataView(new ArrayBuffer(64))]) {
        expect(call(name, { [arg]: v }), `${arg} = ${String(v)}`).toThrow();
      }
      if (typeof value === 'number' && !free.includes(arg)) {
        for (const v of [-1, 0.5, NaN, Infinity, 2 ** 31, 2 ** 53]) {
          expect(call(name, { [arg]: v }), `${arg} = ${v}`).toThrow();
        }
      }
      if (value instanceof Float32Array) expect(call(name, { [arg]: f(0) }), `${arg} empty`).toThrow(RangeError);
      if (value instanceof Int32Array) expect(call(name, { [arg]: i() }), `${arg} empty`).toThrow(RangeError);
    }
  });
  it.each<[Name, Record<string, unknown>, string]>([
    ['writeWindow', { to: i(0, 3) }, 'writeWindow: "to" must hold values in [0, 3), got 3'],
    ['writeWindow', { to: i(-1, 0) }, 'writeWindow: "to" must hold values in [0, 3), got -1'],
    ['compress', { dim: 3 }, 'compress: "width" must be dim or 2*dim'],
    ['compress', { candidatesPerEntry: 129 }, '"candidatesPerEntry" must be an integer in [1, 128]'],
    ['compress', { ropeDim: 3 }, '"ropeDim" must be even, got 3'],
    ['compress', { apeRow: i(4, 0) }, 'compress: "apeRow" must hold values in [0, 4), got 4'],
    ['compress', { openRow: i(0, 6) }, 'compress: "openRow" must hold values in [0, 6), got 6'],
    ['compress', { openKv: f(40) }, 'compress: "openRow" must hold values in [0, 5), got 5'],
    ['compress', { candidates: i(-2, 0, 0, 0, 0, 0, 0, 0) }, 'compress: "candidates" must hold values in [-1, 6), got -2'],
    ['compress', { candidates: i(0, 0, 0, 0, 0, 0, 0, 6) }, 'compress: "candidates" must hold values in [-1, 6), got 6'],
    ['compress', { entryRow: i(2) }, 'compress: "entryRow" must hold values in [0, 2), got 2'],
    ['indexSelect', { visible: i(-1, 0) }, 'indexSelect: "visible" must be at least 0, got -1'],
    ['indexSelect', { visible: i(9, 13) }, 'indexSelect: "pageBase" is outside pageIds: 1'],
    ['indexSelect', { pageBase: i(-1, 1) }, 'indexSelect: "pageBase" is outside pageIds: -1'],
    ['indexSelect', { pageIds: i(0, 2, 3, 1) }, 'indexSelect: "pageIds" must hold values in [0, 3), got 3'],
    ['attend', { near: i(1, 2) }, 'attend: "near" must hold values in [0, 2), got 2'],
    ['attend', { far: i(1) }, 'attend: "far" must hold values in [0, 1), got 1'],
    ['attend', { nearStart: i(0, 2) }, 'attend: "near" has a list outside its index, at row 1'],
    ['attend', { farStart: i(-1, 0) }, 'attend: "far" has a list outside its index, at row 0'],
    ['attend', { nearCount: i(-1, 0) }, 'attend: "near" has a list outside its index, at row 0'],
    ['attend', { farCount: i(0, 2 ** 31 - 1) }, 'attend: "far" has a list outside its index, at row 1'],
  ])('%s guards %j', (name, change, message) => expect(call(name, change)).toThrow(message)); // prettier-ignore

  it('indices that lie where results go are refused: they would change after their check', () => {
    const buffer = new ArrayBuffer(64);
    const [ints, floats] = [new Int32Array(buffer), new Float32Array(buffer)];
    expect(call('writeWindow', { to: ints, window: floats })).toThrow('"window" must not overlap "to"');
    expect(call('attend', { near: ints, out: floats })).toThrow('"out" must not overlap "near"');
    expect(call('attend', { farCount: ints.subarray(4, 6), out: floats.subarray(5) })).toThrow(
      'must not overlap "far"',
    );
    expect(call('indexSelect', { visible: ints.subarray(0, 2), selected: ints.subarray(1) })).toThrow('"selected" must not overlap "visible"'); // prettier-ignore
    expect(call('compress', { entryRow: ints, entries: floats })).toThrow('"entries" must not overlap "entryRow"');
  });
});
