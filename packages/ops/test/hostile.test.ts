/** Arguments of the wrong kind, and such that change: an error that names function and argument, with everything as it was. */
import { expect, it } from 'vitest';
import {
  adoptTensor,
  bytesOf,
  HostTensor,
  hostTensor,
  missingOperations,
  observed,
  overlaid,
  pageKindsOf,
  PagePool,
  sequenceBytes,
  SequencePages,
  StepRows,
  takeLayerSpecs,
} from '../src/index';
import type { Backend, PageKind, PageMemory } from '../src/index';

const as = <T>(v: unknown): T => v as T;
const memory: PageMemory = { grow: () => undefined, copyPage: () => undefined };
const pool = (): PagePool => new PagePool(['window'], 8, memory);
const rows = (): StepRows => new StepRows(4, ['window']);
const backend = (): Backend => as({ add: () => undefined, name: 'mine' });

it.each<[string, () => unknown]>([
  ['bytesOf: "dtype" must be one of f32, i32, u8, bf16, e4m3, got f64', () => bytesOf(as('f64'))],
  ['tensor: "shape" must be an array, got 4', () => new HostTensor('f32', as(4), new Float32Array(4))],
  ['tensor: "shape[1]" must be an integer at least 0, got 2', () => adoptTensor(new Float32Array(4), [2, as(2n)])],
  [
    'adoptTensor: "data" must be a Float32Array, Int32Array, Uint16Array or Uint8Array, got null',
    () => adoptTensor(as(null)),
  ],
  ['PagePool: "kinds" must be an array, got null', () => new PagePool(as(null), 8, memory)],
  ['PagePool: "memory.grow" must be a function, got undefined', () => new PagePool(['window'], 8, as({}))],
  ['PagePool.take: no pages of kind Symbol(x); there are window', () => pool().take(as(Symbol('x')))],
  [
    'PagePool.drop: "page" must be a page of kind window that is held, got 0',
    () => {
      pool().drop('window', 0);
    },
  ],
  [
    'PagePool.hold: "page" must be a page of kind window that is held, got Object',
    () => {
      pool().hold('window', as({}));
    },
  ],
  ['SequencePages: "pool" must be a PagePool, got Object', () => new SequencePages(as({ kinds: [] }))],
  [
    'SequencePages.reserve: "end" must be an integer in [0, 2147483647], got 9007199254740992',
    () => {
      new SequencePages(pool()).reserve(2 ** 53);
    },
  ],
  ['StepRows: "kinds[0]" must be one of window,', () => new StepRows(4, [as('x')])],
  ['StepRows.add: "pages" must be SequencePages, got null', () => rows().add(as(null), [1], 0, 1)],
  ['StepRows.tokensOf: "s" must be an integer in [0, -1], got 0', () => rows().tokensOf(0)],
  ['StepRows.memoryRow: no pages of kind open4; there are window', () => rows().memoryRow('open4', 0, 0)],
  ['pageKindsOf: "layers" must be an array, got null', () => pageKindsOf(as(null))],
  ['sequenceBytes: "layers[0]" must be an object, got number', () => sequenceBytes(1, [as(1)])],
  ['observed: "observer" must be an object, got null', () => observed(backend(), as(null))],
  ['observed: "observer.add" must be a function, got 3', () => observed(backend(), { add: as(3) })],
  ['overlaid: "backend" must be an object, got null', () => overlaid(as(null), {})],
  ['overlaid: "methods.add" must be a function, got 3', () => overlaid(backend(), as({ add: 3 }))],
  ['missingOperations: "backend" must be an object, got undefined', () => missingOperations(as(undefined))],
])('%s', (message, call) => expect(call).toThrow(message));

it('a step is as it was when an id is none', () => {
  const [step, pages] = [rows(), new SequencePages(pool())];
  pages.reserve(3);
  expect(() => step.add(pages, as([1, 2n, 3]), 0, 3)).toThrow(
    'StepRows.add: "tokenIds" must hold token ids, got 2 at index 1',
  );
  expect([step.rows, step.sequences]).toEqual([0, 0]);
  expect(step.add(pages, [1, 2, 3], 0, 3)).toBe(0);
});

it('a page that was given back cannot be given back again: the next two would share it', () => {
  const p = pool();
  const page = p.take('window');
  p.drop('window', page);
  expect(() => {
    p.drop('window', page);
  }).toThrow('that is held');
  expect([p.take('window'), p.take('window')]).toEqual([0, 1]);
});

it('layers and kinds are read once, and equal kinds are one list', () => {
  let asked = 0;
  const layer = {
    ratio: 0,
    window: 8,
    get headDim() {
      return asked++ === 0 ? 8 : -1;
    },
  } as const;
  expect(takeLayerSpecs('f', 'x', [layer])).toEqual([{ ratio: 0, window: 8, headDim: 8 }]);
  const kinds: PageKind[] = ['window'];
  const step = new StepRows(4, kinds);
  kinds.push('open4');
  expect(step.kinds).toEqual(['window']);
  expect(step.kinds).toBe(pool().kinds);
});

it('a tensor on an array of a derived class holds an array of the class itself', () => {
  class Odd extends Float32Array {
    static get [Symbol.species](): typeof Uint8Array {
      return Uint8Array;
    }
  }
  const odd = new Odd(4);
  const { data } = adoptTensor(odd, [2, 2]).view(1, 1);
  expect(data).toBeInstanceOf(Float32Array);
  data.fill(3);
  expect([...odd]).toEqual([0, 0, 3, 3]);
  expect(hostTensor('f32', [2]).data.length).toBe(2);
});

it('a frozen backend can be overlaid', () => {
  const seen: string[] = [];
  const over = overlaid(Object.freeze(backend()), { add: () => void seen.push('add') });
  over.add(as({}));
  expect([over.name, ...seen]).toEqual(['mine', 'add']);
});
