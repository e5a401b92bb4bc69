import { checkCapacity, checkInteger, checkKind, checkPlacesApart, placeOf, ValueError } from '@megamoe/core';
import { checkIds, checkOffsets } from './offsets';

/**
 * One slot order for both GEMMs and the scatter: rows sorted by (expert, token), stable, so that a token chosen twice by the same expert keeps
 * the order of its places.
 *
 * All of `slotToken[0, T*topk)` and `tokenSlots[0, T*topk)` is written; slots past the last row hold -1.
 *
 * @param topkIds       [T, topk] i32 in [-1, E); -1 is masked: it gets no slot, and -1 in `tokenSlots`
 * @param expertOffsets [E] i32 out: cumulative ends, no leading zero; the last is the number of rows
 * @param slotToken     [T*topk] i32 out: token of each slot, then -1
 * @param tokenSlots    [T, topk] i32 out: the inverse, slot of each choice or -1
 * @throws ValueError naming token and place of an id out of range; nothing is written then
 */
export function assignSlots(
  topkIds: Int32Array,
  t: number,
  topk: number,
  numExperts: number,
  expertOffsets: Int32Array,
  slotToken: Int32Array,
  tokenSlots: Int32Array,
): void {
  checkSlotShapes('assignSlots', topkIds, t, topk, numExperts, expertOffsets, slotToken, tokenSlots);
  const n = t * topk;
  const fn = 'assignSlots';
  const ids = placeOf('topkIds', topkIds, n);
  const ends = placeOf('expertOffsets', expertOffsets, numExperts);
  const tokens = placeOf('slotToken', slotToken, n);
  const slots = placeOf('tokenSlots', tokenSlots, n);
  checkPlacesApart(fn, ends, ids);
  checkPlacesApart(fn, tokens, ids);
  checkPlacesApart(fn, slots, ids);
  checkPlacesApart(fn, ends, tokens);
  checkPlacesApart(fn, ends, slots);
  checkPlacesApart(fn, tokens, slots);
  for (let e = 0; e < numExperts; e++) expertOffsets[e] = 0;
  for (let i = 0; i < n; i++) {
    const e = topkIds[i]!;
    if (e >= 0) expertOffsets[e] = expertOffsets[e]! + 1;
  }
  // Starts first; placing a row moves its expert's start on, which leaves the ends behind. No cursor array is needed.
  let rows = 0;
  for (let e = 0; e < numExperts; e++) {
    const count = expertOffsets[e]!;
    expertOffsets[e] = rows;
    rows += count;
  }
  for (let token = 0; token < t; token++) {
    for (let i = token * topk; i < (token + 1) * topk; i++) {
      const e = topkIds[i]!;
      if (e < 0) {
        tokenSlots[i] = -1;
        continue;
      }
      const slot = expertOffsets[e]!;
      expertOffsets[e] = slot + 1;
      slotToken[slot] = token;
      tokenSlots[i] = slot;
    }
  }
  for (let slot = rows; slot < n; slot++) slotToken[slot] = -1;
}

function checkSlotShapes(
  fn: string,
  topkIds: Int32Array,
  t: number,
  topk: number,
  numExperts: number,
  expertOffsets: Int32Array,
  slotToken: Int32Array,
  tokenSlots: Int32Array,
): void {
  checkIds(fn, topkIds, t, topk, numExperts);
  checkKind(fn, 'expertOffsets', expertOffsets, Int32Array);
  checkKind(fn, 'slotToken', slotToken, Int32Array);
  checkKind(fn, 'tokenSlots', tokenSlots, Int32Array);
  checkCapacity(fn, 'expertOffsets', expertOffsets, 'E', numExperts);
  checkCapacity(fn, 'slotToken', slotToken, 'T*topk', t * topk);
  checkCapacity(fn, 'tokenSlots', tokenSlots, 'T*topk', t * topk);
}

/**
 * Proves that a slot order made elsewhere (a GPU kernel, another framework) is one: every unmasked choice has a slot of its own, no slot is
 * left over, each slot names its token and lies in its expert's range. The order inside an expert is free.
 *
 * Arguments as for {@link assignSlots}.
 * @throws ValueError that names the first choice or slot that is wrong
 */
export function checkSlotOrder(
  topkIds: Int32Array,
  t: number,
  topk: number,
  numExperts: number,
  expertOffsets: Int32Array,
  slotToken: Int32Array,
  tokenSlots: Int32Array,
): void {
  const fn = 'checkSlotOrder';
  checkSlotShapes(fn, topkIds, t, topk, numExperts, expertOffsets, slotToken, tokenSlots);
  checkOffsets(fn, expertOffsets, numExperts);
  const rows = expertOffsets[numExperts - 1]!;
  let placed = 0;
  for (let token = 0; token < t; token++) {
    for (let j = 0; j < topk; j++) {
      const i = token * topk + j;
      const e = topkIds[i]!;
      const slot = tokenSlots[i]!;
      if (e < 0) {
        if (slot !== -1)
          throw new ValueError(`${fn}: token ${token}, place ${j} is masked and must have slot -1, got ${slot}`);
        continue;
      }
      placed++;
      const start = e === 0 ? 0 : expertOffsets[e - 1]!;
      const end = expertOffsets[e]!;
      if (slot < start || slot >= end || slot >= t * topk) {
        const at = `token ${token}, place ${j}`;
        throw new ValueError(`${fn}: ${at} must have a slot of expert ${e}, in [${start}, ${end}), got ${slot}`);
      }
      if (slotToken[slot] !== token) {
        throw new ValueError(`${fn}: slot ${slot} must hold token ${token}, got ${slotToken[slot]}`);
      }
      // Two tokens cannot share a slot, it names one of them; so only the token's own choices can collide.
      for (let k = 0; k < j; k++) {
        if (tokenSlots[token * topk + k] === slot)
          throw new ValueError(`${fn}: token ${token}, places ${k} and ${j} share slot ${slot}`);
      }
    }
  }
  if (placed !== rows) throw new ValueError(`${fn}: ${rows} rows for ${placed} choices`);
}

/**
 * True when slot r holds token r for every row, so that a gather may be skipped. It reads the map itself: equal counts of rows and tokens
 * prove nothing (at topk = 1 they are always equal; docs/field-notes.md F15).
 *
 * @param slotToken [rows] i32
 */
export function isIdentitySlots(slotToken: Int32Array, rows: number): boolean {
  checkInteger('isIdentitySlots', 'rows', rows, 0);
  checkKind('isIdentitySlots', 'slotToken', slotToken, Int32Array);
  checkCapacity('isIdentitySlots', 'slotToken', slotToken, 'rows', rows);
  for (let r = 0; r < rows; r++) if (slotToken[r] !== r) return false;
  return true;
}
