import { checkCapacity, checkInteger, checkKind, ShapeError, ValueError } from '@megamoe/core';
import { checkLayerSpec, visibleEntries } from './spec';
import type { LayerSpec } from './spec';

const MAX_POSITION = 2 ** 31 - 2;

/**
 * Most keys of any of the `n` queries at positions `p0..p0+n`: the `keyCap` that {@link buildGatherPlan} needs. CSA layers
 * (ratio 4) count at most `topk` compressed entries; the others count every visible one and ignore `topk`.
 */
export function gatherPlanCapacity(layer: LayerSpec, p0: number, n: number, topk: number): number {
  const fn = 'gatherPlanCapacity';
  checkLayerSpec(fn, 'layer', layer);
  checkInteger(fn, 'p0', p0, 0, MAX_POSITION);
  checkInteger(fn, 'n', n, 0, MAX_POSITION - p0 + 1);
  checkInteger(fn, 'topk', topk, 0);
  if (n === 0) return 0;
  const visible = visibleEntries(p0 + n - 1, layer.ratio);
  return Math.min(layer.window, p0 + n) + (layer.ratio === 4 ? Math.min(topk, visible) : visible);
}

/**
 * Key rows of each of the queries at positions `p0..p0+n`: window first (ring slots `position % ringCap`, positions ascending,
 * the last `window` up to the query itself), then compressed entries as `ringCap + w`, w ascending.
 * @param selected [n, topk] i32 entries of each query, ascending, padded with -1 (from `indexSelect`); null = every visible entry
 * @param keyIndex [n, keyCap] i32 out; only the first `keyCount[r]` of a row are written
 * @param keyCount [n] i32 out
 *
 * Throws ShapeError when `keyCap` is too small or the ring cannot hold the windows of all n queries, ValueError for an entry that
 * is not visible to its query.
 */
export function buildGatherPlan(
  layer: LayerSpec,
  ringCap: number,
  p0: number,
  n: number,
  selected: Int32Array | null,
  topk: number,
  keyIndex: Int32Array,
  keyCap: number,
  keyCount: Int32Array,
): void {
  const fn = 'buildGatherPlan';
  checkLayerSpec(fn, 'layer', layer);
  checkInteger(fn, 'ringCap', ringCap, 1);
  checkInteger(fn, 'p0', p0, 0, MAX_POSITION);
  checkInteger(fn, 'n', n, 0, MAX_POSITION - p0 + 1);
  checkInteger(fn, 'keyCap', keyCap, 0);
  checkKind(fn, 'keyIndex', keyIndex, Int32Array);
  checkKind(fn, 'keyCount', keyCount, Int32Array);
  checkCapacity(fn, 'keyIndex', keyIndex, 'n*keyCap', n * keyCap);
  checkCapacity(fn, 'keyCount', keyCount, 'n', n);
  if (selected !== null) {
    checkInteger(fn, 'topk', topk, 0);
    checkKind(fn, 'selected', selected, Int32Array);
    checkCapacity(fn, 'selected', selected, 'n*topk', n * topk);
    if (layer.ratio === 0) throw new ValueError(`${fn}: "selected" must be null for ratio 0: there are no entries`);
  }
  const { window, ratio } = layer;
  const live = Math.min(window - 1, p0) + n;
  if (n > 0 && ringCap < live) {
    throw new ShapeError(`${fn}: "ringCap" must be at least min(window-1, p0)+n = ${live}, got ${ringCap}`);
  }
  for (let r = 0; r < n; r++) {
    const position = p0 + r;
    const first = Math.max(0, position - window + 1);
    const near = position - first + 1;
    const visible = ratio === 0 ? 0 : Math.floor((position + 1) / ratio);
    const far = selected === null ? visible : countSelected(fn, selected, r, topk, visible);
    if (near + far > keyCap) {
      throw new ShapeError(
        `${fn}: "keyCap" must be at least ${near} window + ${far} compressed keys = ${near + far} for position ${position}, got ${keyCap}`,
      );
    }
    const at = r * keyCap;
    let slot = first % ringCap;
    for (let i = 0; i < near; i++) {
      keyIndex[at + i] = slot;
      slot = slot + 1 === ringCap ? 0 : slot + 1;
    }
    for (let i = 0; i < far; i++) {
      keyIndex[at + near + i] = ringCap + (selected === null ? i : selected[r * topk + i]!);
    }
    keyCount[r] = near + far;
  }
}

/** Entries of row `r` before its padding; throws unless they ascend, are visible, and only -1 follows. */
function countSelected(fn: string, selected: Int32Array, r: number, topk: number, visible: number): number {
  let count = 0;
  while (count < topk && selected[r * topk + count] !== -1) {
    const w = selected[r * topk + count]!;
    if (w < 0 || w >= visible) {
      throw new ValueError(
        `${fn}: "selected" must be in [0, ${visible}) or -1, got ${w} at row ${r}, index ${count}: that entry is not visible`,
      );
    }
    if (count > 0 && w <= selected[r * topk + count - 1]!) {
      throw new ValueError(`${fn}: "selected" must ascend, got ${w} at row ${r}, index ${count}`);
    }
    count++;
  }
  for (let i = count; i < topk; i++) {
    if (selected[r * topk + i] !== -1) {
      throw new ValueError(
        `${fn}: "selected" must be padded with -1 at the end, got ${selected[r * topk + i]} at row ${r}, index ${i}`,
      );
    }
  }
  return count;
}
