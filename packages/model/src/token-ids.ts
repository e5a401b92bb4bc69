import { describe, KindError, plainView, ValueError, type TypedArrayClass } from '@megamoe/core';

/** The elements of a list as they are, whatever has been written over a typed array; undefined for what is no list. */
function listOf(ids: ArrayLike<number>): ArrayLike<unknown> | undefined {
  if (ArrayBuffer.isView(ids)) {
    const Class = (globalThis as unknown as Record<string, TypedArrayClass<Int32Array>>)[describe(ids)];
    return Class === undefined || Class.name === 'DataView'
      ? undefined
      : plainView(ids as unknown as Int32Array, Class);
  }
  return typeof ids === 'object' && ids !== null && typeof lengthOf(ids) === 'number' ? ids : undefined;
}

function lengthOf(ids: ArrayLike<number>): unknown {
  try {
    return ids.length;
  } catch {
    return undefined; // something that pretends
  }
}

/**
 * A copy of token ids, each read once.
 * @param what they are, for the message; a number: of which batch item, for who calls it in every step
 * @param own where the copy goes: an array that had as many allocates nothing
 * @throws KindError for what is no list, ValueError naming the first id that is no integer in [0, vocabSize)
 */
export function takeTokenIds(
  fn: string,
  what: string | number,
  tokenIds: ArrayLike<number>,
  vocabSize: number,
  own: number[] = [],
): number[] {
  const list = listOf(tokenIds);
  if (list === undefined) {
    const they = typeof what === 'number' ? `the token ids of batch item ${what}` : what;
    throw new KindError(`${fn}: ${they} must be an array of token ids, got ${describe(tokenIds)}`);
  }
  const { length } = list;
  let i = 0;
  for (; i < length; i++) {
    const id = list[i];
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw new ValueError(
        `${fn}: token id ${describe(id)} at index ${i} must be an integer in [0, vocabSize = ${vocabSize})`,
      );
    }
    own[i] = id;
  }
  if (own.length > i) own.length = i; // whatever the list calls its length
  return own;
}
