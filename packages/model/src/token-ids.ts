import { ValueError } from '@megamoe/core';

/** @throws ValueError naming the first id that is no integer in [0, vocabSize). */
export function checkTokenIds(fn: string, tokenIds: ArrayLike<number>, vocabSize: number): void {
  for (let i = 0; i < tokenIds.length; i++) {
    const id = tokenIds[i]!;
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw new ValueError(`${fn}: token id ${id} at index ${i} must be an integer in [0, vocabSize = ${vocabSize})`);
    }
  }
}
