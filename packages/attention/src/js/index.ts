import type { Engine } from '../engine';
import { attend, createAttendScratch } from './attend';
import { compress } from './compress';
import { indexSelect } from './index-select';
import type { SelectScratch } from './index-select';
import { rope } from './rope';

/** The pure-TypeScript backend; its scratch grows to the largest shape seen and then stays. */
export function createJsEngine(): Engine {
  const attendScratch = createAttendScratch();
  const selectScratch: SelectScratch = { scores: new Float32Array(0), order: new Float32Array(0) };
  return {
    rope,
    compress,
    indexSelect: (entries, ratio, dim, q, headWeights, row0, n, p0, heads, topk, selected) =>
      indexSelect(selectScratch, entries, ratio, dim, q, headWeights, row0, n, p0, heads, topk, selected),
    attend: (ring, ringCap, entries, d, q, row0, n, heads, keyIndex, keyCap, keyCount, sinks, softmaxScale, out) =>
      attend(
        attendScratch,
        ring,
        ringCap,
        entries,
        d,
        q,
        row0,
        n,
        heads,
        keyIndex,
        keyCap,
        keyCount,
        sinks,
        softmaxScale,
        out,
      ),
  };
}
