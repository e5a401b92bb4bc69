import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildGatherPlan, gatherPlanCapacity, visibleEntries } from '../src/index';
import type { LayerSpec } from '../src/index';

const SWA: LayerSpec = { ratio: 0, window: 3, headDim: 2 };
const CSA: LayerSpec = { ratio: 4, window: 3, headDim: 2, indexHeadDim: 2 };
const HCA: LayerSpec = { ratio: 128, window: 3, headDim: 2 };

function plan(layer: LayerSpec, ringCap: number, p0: number, n: number, selected: number[] | null, topk: number) {
  const keyCap = gatherPlanCapacity(layer, p0, n, topk);
  const keyIndex = new Int32Array(n * keyCap).fill(-7);
  const keyCount = new Int32Array(n);
  buildGatherPlan(layer, ringCap, p0, n, selected && Int32Array.from(selected), topk, keyIndex, keyCap, keyCount);
  return Array.from(keyCount, (count, r) => Array.from(keyIndex.subarray(r * keyCap, r * keyCap + count)));
}

describe('visibleEntries', () => {
  it('counts an entry from the last token of its window on', () => {
    expect([0, 2, 3, 4, 6, 7, 11].map((t) => visibleEntries(t, 4))).toEqual([0, 0, 1, 1, 1, 2, 3]);
    expect([126, 127, 254, 255].map((t) => visibleEntries(t, 128))).toEqual([0, 1, 1, 2]);
    expect(visibleEntries(1000, 0)).toBe(0);
  });
  it('refuses what is no position', () => {
    expect(() => visibleEntries(-1, 4)).toThrow(
      'visibleEntries: "position" must be an integer in [0, 2147483646], got -1',
    );
    expect(() => visibleEntries(1, 0.5)).toThrow('"ratio"');
  });
});

describe('buildGatherPlan', () => {
  it('takes the window, its oldest key first, around the ring', () => {
    expect(plan(SWA, 5, 0, 4, null, 0)).toEqual([[0], [0, 1], [0, 1, 2], [1, 2, 3]]);
    expect(plan(SWA, 5, 6, 3, null, 0)).toEqual([
      [4, 0, 1],
      [0, 1, 2],
      [1, 2, 3],
    ]);
  });
  it('adds every visible entry after the window', () => {
    expect(plan(HCA, 3, 254, 1, null, 0)).toEqual([[0, 1, 2, 3]]);
    expect(plan(HCA, 3, 255, 1, null, 0)).toEqual([[1, 2, 0, 3, 4]]);
    expect(plan({ ...CSA, window: 1 }, 4, 8, 1, null, 9)).toEqual([[0, 4, 5]]);
  });
  it('adds the selected entries without their padding', () => {
    expect(plan(CSA, 4, 10, 2, [0, 1, 0, 2], 2)).toEqual([
      [0, 1, 2, 4, 5],
      [1, 2, 3, 4, 6],
    ]);
    expect(plan(CSA, 4, 2, 2, [-1, -1, 0, -1], 2)).toEqual([
      [0, 1, 2],
      [1, 2, 3, 4],
    ]);
  });
  it('takes no queries', () => {
    expect(gatherPlanCapacity(CSA, 7, 0, 5)).toBe(0);
    expect(plan(CSA, 1, 7, 0, [], 5)).toEqual([]);
  });
  it('never needs more than gatherPlanCapacity, which some query reaches', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(SWA, CSA, HCA, { ...CSA, window: 40 }),
        fc.nat(600),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(20),
        (layer, p0, n, topk) => {
          const selected =
            layer.ratio === 4
              ? Array.from({ length: n }, (_, r) =>
                  Array.from({ length: topk }, (_, i) => (i < visibleEntries(p0 + r, 4) ? i : -1)),
                ).flat()
              : null;
          const counts = plan(layer, layer.window + n - 1, p0, n, selected, topk).map((keys) => keys.length);
          expect(Math.max(...counts)).toBe(gatherPlanCapacity(layer, p0, n, topk));
        },
      ),
      { seed: 7 },
    );
  });
  const six = new Int32Array(6);
  it.each<[string, () => void, string]>([
    [
      'a small ring',
      () => buildGatherPlan(SWA, 3, 5, 2, null, 0, six, 3, six),
      'ShapeError: buildGatherPlan: "ringCap" must be at least min(window-1, p0)+n = 4, got 3',
    ],
    [
      'a small keyCap',
      () => buildGatherPlan(SWA, 4, 5, 2, null, 0, six, 2, six),
      'ShapeError: buildGatherPlan: "keyCap" must be at least 3 window + 0 compressed keys = 3 for position 5, got 2',
    ],
    [
      'a short keyIndex',
      () => buildGatherPlan(SWA, 4, 5, 2, null, 0, six, 4, six),
      'ShapeError: buildGatherPlan: "keyIndex" must hold at least n*keyCap = 8 elements, got 6',
    ],
    [
      'a short keyCount',
      () => buildGatherPlan(SWA, 4, 5, 2, null, 0, six, 3, six.subarray(5)),
      'ShapeError: buildGatherPlan: "keyCount" must hold at least n = 2 elements, got 1',
    ],
    [
      'a future entry',
      () => buildGatherPlan(CSA, 4, 6, 1, Int32Array.of(1), 1, six, 6, six),
      'ValueError: buildGatherPlan: "selected" must be in [0, 1) or -1, got 1 at row 0, index 0: that entry is not visible',
    ],
    ['an entry of -2', () => buildGatherPlan(CSA, 4, 6, 1, Int32Array.of(-2), 1, six, 6, six), 'got -2 at row 0'],
    [
      'descending entries',
      () => buildGatherPlan(CSA, 4, 11, 1, Int32Array.of(2, 1), 2, six, 6, six),
      '"selected" must ascend, got 1 at row 0, index 1',
    ],
    [
      'an entry twice',
      () => buildGatherPlan(CSA, 4, 11, 1, Int32Array.of(1, 1), 2, six, 6, six),
      '"selected" must ascend',
    ],
    [
      'padding inside',
      () => buildGatherPlan(CSA, 4, 11, 1, Int32Array.of(-1, 1), 2, six, 6, six),
      '"selected" must be padded with -1 at the end, got 1 at row 0, index 1',
    ],
    [
      'a short selected',
      () => buildGatherPlan(CSA, 4, 11, 1, six, 7, six, 6, six),
      '"selected" must hold at least n*topk = 7',
    ],
    [
      'entries without compression',
      () => buildGatherPlan(SWA, 4, 5, 1, six, 1, six, 3, six),
      'ValueError: buildGatherPlan: "selected" must be null for ratio 0',
    ],
    [
      'a wrong ratio',
      () => buildGatherPlan({ ...SWA, ratio: 8 as 4 }, 4, 5, 1, null, 0, six, 3, six),
      '"layer.ratio" must be one of 0, 4, 128, got 8',
    ],
    [
      'a wrong window',
      () => gatherPlanCapacity({ ...SWA, window: 0 }, 0, 1, 0),
      '"layer.window" must be an integer in [1, 1073741824], got 0',
    ],
    ['a negative position', () => gatherPlanCapacity(SWA, -1, 1, 0), '"p0"'],
    ['a fractional topk', () => gatherPlanCapacity(CSA, 0, 1, 0.5), '"topk" must be an integer at least 0, got 0.5'],
    [
      'a Float32Array',
      () => buildGatherPlan(SWA, 4, 5, 1, null, 0, new Float32Array(6) as unknown as Int32Array, 3, six),
      'KindError: buildGatherPlan: "keyIndex" must be a Int32Array, got Float32Array',
    ],
  ])('refuses %s', (_, call, message) => {
    let text = '';
    try {
      call();
    } catch (error) {
      text = String(error);
    }
    expect(text).toContain(message);
  });
});
