import {
  checkApart,
  checkApartOrSame,
  checkCapacity,
  checkInteger,
  checkKind,
  checkOneOf,
  ValueError,
} from '@megamoe/core';

/**
 * Global expert ids to the ids of one rank that holds experts `[firstExpert, firstExpert + nLocal)` (docs/field-notes.md F13).
 *
 * A choice of another rank, or one that is already masked (-1), gets weight zero. Its id is clamped into `[0, nLocal)`, so that a kernel
 * that reads it addresses memory it owns, or becomes -1 with `nonLocal` = `mask`, so that {@link assignSlots} gives it no row. Both
 * add up to the same sum over ranks.
 *
 * @param topkIds      [T, topk] i32 global ids, -1 = masked
 * @param topkWeights  [T, topk] f32
 * @param localIds     [T, topk] i32 out, may be `topkIds`
 * @param localWeights [T, topk] f32 out, may be `topkWeights`
 * @throws ValueError naming token and place of an id below -1; nothing is written then
 */
export function remapLocal(
  topkIds: Int32Array,
  topkWeights: Float32Array,
  t: number,
  topk: number,
  firstExpert: number,
  nLocal: number,
  localIds: Int32Array,
  localWeights: Float32Array,
  nonLocal: 'clamp' | 'mask' = 'clamp',
): void {
  const fn = 'remapLocal';
  checkInteger(fn, 't', t, 0);
  checkInteger(fn, 'topk', topk, 1);
  checkInteger(fn, 'firstExpert', firstExpert, 0, 0x7fffffff);
  checkInteger(fn, 'nLocal', nLocal, 1, 0x7fffffff);
  checkOneOf(fn, 'nonLocal', nonLocal, ['clamp', 'mask']);
  checkKind(fn, 'topkIds', topkIds, Int32Array);
  checkKind(fn, 'topkWeights', topkWeights, Float32Array);
  checkKind(fn, 'localIds', localIds, Int32Array);
  checkKind(fn, 'localWeights', localWeights, Float32Array);
  const n = t * topk;
  checkCapacity(fn, 'topkIds', topkIds, 'T*topk', n);
  checkCapacity(fn, 'topkWeights', topkWeights, 'T*topk', n);
  checkCapacity(fn, 'localIds', localIds, 'T*topk', n);
  checkCapacity(fn, 'localWeights', localWeights, 'T*topk', n);
  checkApartOrSame(fn, 'localIds', localIds, 'topkIds', topkIds, n, n);
  checkApartOrSame(fn, 'localWeights', localWeights, 'topkWeights', topkWeights, n, n);
  checkApart(fn, 'localIds', localIds, 'topkWeights', topkWeights, n, n);
  checkApart(fn, 'localWeights', localWeights, 'topkIds', topkIds, n, n);
  checkApart(fn, 'localIds', localIds, 'localWeights', localWeights, n, n);
  for (let i = 0; i < n; i++) {
    if (topkIds[i]! >= -1) continue;
    const at = `token ${Math.floor(i / topk)}, place ${i % topk}`;
    throw new ValueError(`${fn}: "topkIds" must be at least -1, got ${topkIds[i]} at ${at}`);
  }
  for (let i = 0; i < n; i++) {
    const local = topkIds[i]! - firstExpert; // negative for -1 too, as firstExpert is not
    if (local >= 0 && local < nLocal) {
      localIds[i] = local;
      localWeights[i] = topkWeights[i]!;
    } else {
      localIds[i] = nonLocal === 'mask' ? -1 : local < 0 ? 0 : nLocal - 1;
      localWeights[i] = 0;
    }
  }
}
