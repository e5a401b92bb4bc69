import { ValueError } from '@megamoe/core';
import { OP_NAMES, type OpName } from '@megamoe/ops';
import type { NativeDataFailure } from './addon';

/** Arguments whose values an operation cannot use, by the numbers of native/kernels/launch.h. */
const WORDS: Readonly<Record<number, (op: OpName) => string>> = {
  1: (op) => `"${INDICES[op] ?? 'index'}" holds a value outside its range`,
  2: (op) =>
    op === 'swigluStage'
      ? 'the SwiGLU of "gateUp" must be finite, got NaN or infinity'
      : op === 'route'
        ? '"logits" must be finite, got NaN or infinity'
        : '"x" must be finite for inputs "nvfp4", got NaN or infinity',
  3: () => '"globalDecodeScale" must be finite and at least 2^-117 for an expert that has rows',
  4: () => '"alpha" must be finite for an expert that has rows',
  5: () => '"bias" must not be NaN',
  6: () => '"tokenIds" holds an id outside the table',
  7: () => '"tid2eid" holds an expert outside [0, E)',
  8: () => '"sinks" must not be NaN',
  9: () => '"selected" must hold visible entries, ascending, and then -1',
  10: () => '"expertOffsets" must be cumulative ends, at or below slots',
};

/** Arguments that hold indices. */
const INDICES: Partial<Record<OpName, string>> = {
  embed: 'ids',
  gatherRows: 'index',
  assignSlots: 'topkIds',
  stage: 'slotToken',
  scatterExperts: 'tokenSlots',
  ropeTables: 'positions',
};

/** The error for what a kernel found in data. */
export function dataError([operation, kind, index]: NonNullable<NativeDataFailure>): ValueError {
  const op = OP_NAMES[operation];
  if (op === undefined) return new ValueError(`cuda: an operation found a value that it cannot use, at index ${index}`);
  const what = WORDS[kind]?.(op) ?? 'a value cannot be used';
  return new ValueError(`${op}: ${what}, at index ${index}`);
}
