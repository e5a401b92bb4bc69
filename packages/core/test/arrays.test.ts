import { runInNewContext } from 'node:vm';
import { describe as group, expect, it } from 'vitest';
import {
  checkApart,
  checkApartOrSame,
  checkKind,
  checkObject,
  describe,
  namedError,
  newArray,
  plainView,
  takeList,
  ValueError,
} from '../src/index';

/** What `f` throws, as `code message`. */
function thrown(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    return `${(e as { code?: string }).code} ${(e as Error).message}`;
  }
  return 'nothing';
}

const kindOf = (v: unknown): string => thrown(() => checkKind('f', 'x', v, Float32Array));

group('checkKind', () => {
  it('takes arrays of this realm and another, and of derived classes', () => {
    class Derived extends Float32Array {}
    expect(kindOf(new Float32Array(2))).toBe('nothing');
    expect(kindOf(new Derived(2))).toBe('nothing');
    expect(kindOf(runInNewContext('new Float32Array(2)'))).toBe('nothing');
    expect(thrown(() => checkKind('f', 'x', Buffer.alloc(1), Uint8Array))).toBe('nothing');
  });

  it('refuses what only looks like one, and says what came', () => {
    const hostile = new Proxy(
      {},
      {
        get: () => {
          throw new Error('no');
        },
      },
    );
    const long = Object.defineProperty(new Float32Array(2), 'length', { value: 1e9 });
    for (const [v, got] of [
      [Object.create(Float32Array.prototype), 'an object that is no Float32Array'],
      [{ length: 2, constructor: Float32Array }, 'an object that is no Float32Array'],
      [new Proxy(new Float32Array(2), {}), 'an object that is no Float32Array'],
      [runInNewContext('new Float64Array(2)'), 'Float64Array'],
      [Object.create(null), 'object'],
      [hostile, 'object'],
      [[1], 'Array'],
      [null, 'null'],
      [undefined, 'undefined'],
      [Symbol('x'), 'symbol'],
    ] as const)
      expect(kindOf(v)).toBe(`ERR_KIND f: "x" must be a Float32Array, got ${got}`);
    expect(kindOf(long)).toBe(
      'ERR_KIND f: "x" must be a Float32Array with its own length, got one whose length is written over',
    );
  });
});

group('plainView', () => {
  it('is the same elements, with the methods and properties of the class', () => {
    class Odd extends Uint8Array {
      static get [Symbol.species](): typeof Uint8Array {
        return Float64Array as never;
      }
      override fill(): this {
        return this;
      }
    }
    const odd = new Odd(new ArrayBuffer(8), 3, 4);
    Object.defineProperty(odd, 'buffer', { value: new ArrayBuffer(8) });
    const plain = plainView<Uint8Array>(odd, Uint8Array);
    plain.fill(7);
    expect([...odd]).toEqual([7, 7, 7, 7]);
    expect([plain.byteOffset, plain.length, plain.slice(1) instanceof Uint8Array]).toEqual([3, 4, true]);
  });

  it('of an array whose buffer has gone is empty', () => {
    const x = new Float32Array(4);
    structuredClone(x.buffer, { transfer: [x.buffer] });
    expect(plainView(x, Float32Array).length).toBe(0);
  });
});

group('checkApart', () => {
  it('asks the engine where arrays lie, not their properties', () => {
    const x = new Float32Array(8);
    const out = x.subarray(4);
    Object.defineProperty(out, 'buffer', { value: new ArrayBuffer(64) });
    Object.defineProperty(out, 'byteOffset', { value: 64 });
    Object.defineProperty(out, 'BYTES_PER_ELEMENT', { value: 0 });
    expect(() => checkApart('f', 'out', out, 'x', x)).toThrow('f: "out" must not overlap "x"');
    expect(() => checkApartOrSame('f', 'out', out, 'x', x)).toThrow('f: "out" must not overlap "x"');
  });
  const apart = (a: Float32Array, b: Float32Array, n?: number): string =>
    thrown(() => checkApart('f', 'out', a, 'x', b, a.length, n));

  it('compares what is used, in one memory or two objects of the same', () => {
    const memory = new Float32Array(8);
    expect(apart(memory.subarray(0, 4), memory.subarray(4))).toBe('nothing');
    expect(apart(memory.subarray(0, 5), memory.subarray(4))).toBe('ERR_SHAPE f: "out" must not overlap "x"');
    expect(apart(memory.subarray(4), memory, 4)).toBe('nothing');
    expect(apart(memory, new Float32Array(8))).toBe('nothing');
    expect(apart(memory, memory.subarray(3, 3))).toBe('nothing'); // no element
    const shared = new SharedArrayBuffer(32);
    const same = structuredClone(shared); // the same memory behind another object
    new Uint8Array(shared).fill(7);
    expect(same === shared).toBe(false);
    expect(apart(new Float32Array(shared), new Float32Array(same))).toBe('ERR_SHAPE f: "out" must not overlap "x"');
    expect([...new Uint8Array(same)]).toEqual(new Array(32).fill(7)); // looked at, not changed
    const other = new SharedArrayBuffer(32);
    new Uint8Array(other).fill(7);
    expect(apart(new Float32Array(shared), new Float32Array(other))).toBe('nothing');
  });

  it('or the same elements', () => {
    const memory = new Float32Array(8);
    const f = (a: Float32Array, b: Float32Array): string => thrown(() => checkApartOrSame('f', 'out', a, 'x', b));
    expect(f(memory, memory.subarray(0, 3))).toBe('nothing');
    expect(f(memory, memory.subarray(1))).toBe('ERR_SHAPE f: "out" must not overlap "x"');
  });
});

it('names what cannot be allocated, what is no object, and errors without a code', () => {
  expect(thrown(() => newArray('f', 'out', Float32Array, 'M*K', 2 ** 52))).toBe(
    `ERR_SHAPE f: "out" of length M*K = ${2 ** 52} cannot be allocated`,
  );
  expect(thrown(() => newArray('f', 'out', Float32Array, 'M*K', -1))).toMatch(/^ERR_SHAPE f: "out" of length/);
  expect(thrown(() => checkObject('f', 'shape', null))).toBe('ERR_KIND f: "shape" must be an object, got null');
  expect(describe(-0.5)).toBe('-0.5');
  expect(describe(() => 1)).toBe('a function');
  expect(namedError(new RangeError('words'))).toMatchObject({ code: 'ERR_SHAPE', message: 'words' });
  expect(namedError(new TypeError('words'))).toMatchObject({ code: 'ERR_KIND', message: 'words' });
  const other = new Error('words');
  expect(namedError(other)).toBe(other);
});

group('takeList', () => {
  const take = (list: unknown, most = 5): unknown =>
    takeList('f', 'list', list, most, (n, i) => {
      if (typeof n !== 'number') throw new ValueError(`no number at ${i}`);
      return n + i;
    });

  it('copies by index, whatever the array says of how to go through it', () => {
    expect(take([5, 6])).toEqual([5, 7]);
    const endless = Object.assign([5, 6], {
      *[Symbol.iterator]() {
        for (;;) yield 1;
      },
    });
    expect(take(endless)).toEqual([5, 7]);
  });

  it('refuses what is too long before it reads any of it, and stops at the first place that holds nothing', () => {
    const vast: number[] = [];
    vast.length = 2 ** 32 - 1;
    expect(() => take(vast)).toThrow('f: "list" must hold at most 5 elements, got 4294967295');
    expect(() => take(vast, Infinity)).toThrow('no number at 0');
    expect(() => take(new Proxy([1], { get: () => Infinity }))).toThrow('f: "list" must be an array');
    for (const none of [null, undefined, 'ab', { length: 1, 0: 1 }, new Float32Array(2)])
      expect(() => take(none)).toThrow('f: "list" must be an array, got ');
  });
});
