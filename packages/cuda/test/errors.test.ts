/** What people hear of what a GPU refused, and of data that a kernel found wrong. */
import { describe, expect, it } from 'vitest';
import { dataError } from '../src/data-errors';
import { deviceError } from '../src/errors';

describe('errors', () => {
  const refused = (cudaError: string, isLost = false): Error =>
    Object.assign(new Error(`launch: words (${cudaError})`), { cudaError, isLost });
  it('what CUDA refuses has a reason', () => {
    expect(deviceError(refused('cudaErrorMemoryAllocation'), 'alloc')).toMatchObject({
      code: 'ERR_DEVICE',
      reason: 'memory',
      message: 'alloc: no memory left on the GPU; load a smaller model, or fewer tokens at a time',
    });
    expect(deviceError(refused('cudaErrorIllegalAddress', true), 'linear')).toMatchObject({ reason: 'lost' });
    expect(deviceError(refused('cudaErrorInvalidValue'), 'linear')).toMatchObject({ reason: 'refused' });
    const other = new TypeError('no');
    expect(deviceError(other, 'x')).toBe(other);
  });
  it('what a kernel found names operation, argument and index', () => {
    expect(dataError([5, 1, 7])).toMatchObject({
      code: 'ERR_VALUE',
      message: 'gatherRows: "index" holds a value outside its range, at index 7',
    });
    expect(dataError([99, 1, 0]).message).toMatch(/^cuda: an operation found a value/);
  });
});
