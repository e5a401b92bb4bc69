import { OP_NAMES, type OpName } from '@megamoe/ops';
import { expect, it } from 'vitest';
import { CHECKS } from '../src/checks/index';
import type { Check, Checks } from '../src/judge';

it('there is a check for every operation of the list, and for nothing else', () => {
  expect(Object.keys(CHECKS).sort()).toEqual([...OP_NAMES].sort());
});

/** Checks of a list with one more operation. */
type LongerList = Checks & Readonly<Record<'transpose', Check<OpName>>>;

it('an operation without a check does not compile', () => {
  const { attend, ...rest } = CHECKS;
  // @ts-expect-error an operation is left out
  const fewer: Checks = rest;
  const all: Checks = { ...rest, attend };
  // @ts-expect-error an operation is new
  const longer: LongerList = CHECKS;
  // @ts-expect-error one stands in another's place
  const swapped: Checks = { ...CHECKS, hcPost: CHECKS.hcHead };
  expect([all, fewer, longer, swapped]).toHaveLength(4);
});
