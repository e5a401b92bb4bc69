import { describe, expect, it } from 'vitest';
import {
  CheckpointError,
  ceilDiv,
  checkCapacity,
  checkFinite,
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkNumber,
  checkOneOf,
  checkPositive,
  roundUp,
  UnsupportedError,
} from '../src/index';

/** What `f` throws, as `code: message`. */
function thrown(f: () => void): string {
  try {
    f();
  } catch (e) {
    const err = e as Error & { code: string };
    return `${err.code}: ${err.message}`;
  }
  return 'nothing';
}

describe('checks', () => {
  it('name the function, the argument, the formula and both numbers', () => {
    expect(thrown(() => checkLength('f', 'sf', [1, 2], 'M*K/16', 4))).toBe(
      'ERR_SHAPE: f: "sf" must have length M*K/16 = 4, got 2',
    );
    expect(thrown(() => checkCapacity('f', 'out', [1], 'T*topk', 2))).toBe(
      'ERR_SHAPE: f: "out" must hold at least T*topk = 2 elements, got 1',
    );
    expect(thrown(() => checkCapacity('f', 'gain', [1], '3', 3))).toBe(
      'ERR_SHAPE: f: "gain" must hold at least 3 elements, got 1',
    );
    expect(thrown(() => checkLength('f', 'gain', [1], '3', 3))).toBe('ERR_SHAPE: f: "gain" must have length 3, got 1');
    expect(thrown(() => checkMultiple('f', 'k', 17, 16))).toBe('ERR_SHAPE: f: "k" must be a multiple of 16, got 17');
    expect(thrown(() => checkInteger('f', 'n', 1.5, 0))).toBe(
      'ERR_VALUE: f: "n" must be an integer at least 0, got 1.5',
    );
    expect(thrown(() => checkInteger('f', 'n', 9, 0, 8))).toBe('ERR_VALUE: f: "n" must be an integer in [0, 8], got 9');
    expect(thrown(() => checkNumber('f', 't', NaN, 0, 2))).toBe(
      'ERR_VALUE: f: "t" must be a finite number in [0, 2], got NaN',
    );
    expect(thrown(() => checkPositive('f', 's', 0))).toBe('ERR_VALUE: f: "s" must be a finite number above 0, got 0');
    const text = '5' as never; // which would be right as a number
    expect(
      [
        () => checkInteger('f', 'x', text, 0),
        () => checkNumber('f', 'x', text),
        () => checkPositive('f', 'x', text),
        () => checkMultiple('f', 'x', text, 5),
      ].map((f) => thrown(f).replace(/.*, /, '')),
    ).toEqual(Array(4).fill('got "5"'));
    expect(thrown(() => checkFinite('f', 'x', [0, NaN]))).toBe('ERR_VALUE: f: "x" must be finite, got NaN at index 1');
    expect(thrown(() => checkOneOf('f', 'layout', 'x', ['a', 'b']))).toBe(
      'ERR_VALUE: f: "layout" must be one of a, b, got x',
    );
    expect(thrown(() => checkKind('f', 'x', [1], Float32Array))).toBe(
      'ERR_KIND: f: "x" must be a Float32Array, got Array',
    );
  });
  it('let good values pass', () => {
    expect(
      thrown(() => {
        checkLength('f', 'a', [1], '1', 1);
        checkCapacity('f', 'a', [1, 2], '1', 1);
        checkMultiple('f', 'a', 32, 16);
        checkInteger('f', 'a', 3, 0, 3);
        checkNumber('f', 'a', 0.5, 0, 1);
        checkPositive('f', 'a', 1e-30);
        checkFinite('f', 'a', [1, 2]);
        checkOneOf('f', 'a', 'b', ['a', 'b']);
        checkKind('f', 'a', new Uint8Array(1), Uint8Array);
      }),
    ).toBe('nothing');
  });
});

it('errors carry their code and details', () => {
  const e = new CheckpointError('bad', { file: 'a.safetensors', tensor: 'w', cause: 1 });
  expect([e.code, e.name, e.file, e.tensor, e.cause]).toEqual([
    'ERR_CHECKPOINT',
    'CheckpointError',
    'a.safetensors',
    'w',
    1,
  ]);
  expect(new UnsupportedError('x').code).toBe('ERR_UNSUPPORTED');
});

it('ceilDiv and roundUp', () => {
  expect([ceilDiv(0, 4), ceilDiv(1, 4), ceilDiv(8, 4), roundUp(129, 128), roundUp(0, 128)]).toEqual([0, 1, 2, 256, 0]);
});
