/** What lies where in the memory of a GPU, and that what fails leaves nothing there; with the host's memory in its place. */
import { PagePool, pageKindsOf, PAGES, SequencePages, StepRows, type LayerSpec, type LinearSource } from '@megamoe/ops';
import { describe, expect, it } from 'vitest';
import { DeviceCache } from '../src/cache';
import { DeviceRope } from '../src/handles';
import { packExperts, packLinear } from '../src/pack';
import { DeviceStaged } from '../src/staged';
import { DeviceStep } from '../src/step';
import { HostMemory } from './host-memory';

const bytes = (n: number, from = 0): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i + from) % 120);
const LAYERS: readonly LayerSpec[] = [
  { ratio: 0, window: 8, headDim: 4 },
  { ratio: 4, window: 8, headDim: 4, indexHeadDim: 2 },
];

describe('weights', () => {
  it.each([true, false])('of a linear lie in the order of their rows, scales beside them; asked for: %s', (asks) => {
    const memory = new HostMemory();
    const [n, k] = [5, 256];
    const codes = bytes(2 * n * k, 3);
    const scales = Float32Array.from({ length: 2 * n * 2 }, (_, i) => i);
    const data = (row: number, rows: number) => ({
      codes: codes.slice(row * k, (row + rows) * k),
      scales: scales.slice(row * 2, (row + rows) * 2),
    });
    const w = packLinear(memory.device, { n, k, groups: 2, dtype: 'fp8', data: asks ? data : data(0, 2 * n) });
    const [, matrices, , , at, scalesAt] = w.native;
    expect([matrices, w.bytes]).toEqual([2, 2 * n * k + 4 * scales.length]);
    expect(memory.at(at!, codes.length)).toEqual(codes);
    expect(memory.at(scalesAt!, scales.byteLength)).toEqual(new Uint8Array(scales.buffer));
    w.dispose();
    expect(memory.held).toBe(0);
  });

  it('of experts lie part after part, and a read that throws leaves nothing', () => {
    const memory = new HostMemory();
    const source = { numExperts: 2, n: 4, k: 3, parts: 2, format: 'f32' } as const;
    const read = (e: number, p: number) => ({ data: new Float32Array(6).fill(10 * e + p) });
    const w = packExperts(memory.device, { ...source, read });
    const out = new Float32Array(memory.at(w.native[4]!, 96).slice().buffer);
    expect([...out]).toEqual([0, 1, 10, 11].flatMap((v) => Array<number>(6).fill(v)));
    const held = memory.held;
    const fails = (e: number, p: number) => {
      if (e === 1) throw new Error('cut');
      return read(e, p);
    };
    expect(() => packExperts(memory.device, { ...source, read: fails })).toThrow('cut');
    expect(memory.held).toBe(held);
  });

  it('without memory for their alphas leave nothing', () => {
    const source: LinearSource = {
      ...{ n: 1, k: 48, dtype: 'nvfp4', weightGlobalDecodeScale: Float32Array.of(1) },
      data: { codes: bytes(24), sf: new Uint8Array(3) },
    };
    for (const room of [26, 27, 31, 34]) {
      const memory = new HostMemory(room);
      expect(() => packLinear(memory.device, source)).toThrow(/packLinear: no memory left on the GPU/);
      expect(memory.held).toBe(0);
    }
    expect(packLinear(new HostMemory(35).device, source).bytes).toBe(27);
  });
});

describe('a cache', () => {
  it('keeps what its pages hold when they grow, and copies rows of a page', () => {
    const memory = new HostMemory();
    const cache = new DeviceCache(memory.device, LAYERS);
    cache.grow('window', 1);
    const first = cache.memory[1]!.window;
    memory.at(first.address, first.bytes).fill(7);
    cache.grow('window', 3);
    const page = first.bytes / 3;
    expect([...memory.at(first.address, first.bytes)].filter((v) => v === 7).length).toBe(page);
    cache.copyPage('window', 0, 2, 2);
    expect([...memory.at(first.address + 2 * page, page)].filter((v) => v === 7).length).toBe(2 * 4 * 4);
    expect(cache.part(1, 'window').shape).toEqual([3 * PAGES.window.rows, 4]);
    cache.dispose();
    expect(memory.held).toBe(0);
    expect(() => cache.grow('window', 1)).toThrow('cache.grow: the cache has been disposed');
  });

  it('says that there is no memory, and goes on as it was', () => {
    const memory = new HostMemory(20_000);
    const cache = new DeviceCache(memory.device, LAYERS);
    cache.grow('window', 2);
    const held = memory.held;
    // Room for one of the two layers.
    expect(() => cache.grow('window', 10)).toThrow(
      /^cache\.grow: no memory for 10 pages of kind window: \d+ more bytes of the GPU$/,
    );
    expect([cache.pages('window'), memory.held]).toEqual([2, held]);
    cache.copyPage('window', 0, 1, 1);
    memory.liesAboutRoom = true; // others take it between the question and the allocation
    expect(() => cache.grow('window', 1000)).toThrow(
      /^cache\.grow: no memory for 1000 pages of kind window: \d+ bytes for one layer of the GPU$/,
    );
    expect(cache.pages('window')).toBe(2);
  });

  it('takes no heads that attention has no kernels for', () => {
    expect(() => new DeviceCache(new HostMemory().device, [{ ratio: 0, window: 8, headDim: 1025 }])).toThrow(
      'createCache: "layers[0].headDim" must be at most 1024 on this backend, got 1025',
    );
  });
});

it('a step lies in one piece: ids, positions, sequences, then pages', () => {
  const memory = new HostMemory();
  const { device } = memory;
  const cache = new DeviceCache(device, LAYERS);
  const pool = new PagePool(pageKindsOf(LAYERS), 8, cache);
  const rows = new StepRows(4, pool.kinds);
  for (const ids of [[5, 6], [9]]) {
    const pages = new SequencePages(pool);
    pages.reserve(ids.length);
    rows.add(pages, ids, 0, ids.length);
  }
  const step = new DeviceStep(device, 4);
  step.plan('planStep', rows, cache, new DeviceRope(device, { ropeDim: 2, theta: 10 }));
  const [positions, sequence, count] = step.native;
  const ints = (at: number, n: number): number[] => [...new Int32Array(memory.at(at, 4 * n).slice().buffer)];
  expect([count, ints(positions!, 3), ints(sequence!, 3)]).toEqual([3, [0, 1, 0], [0, 0, 1]]);
  const [base, ids, perPage] = step.pages('window');
  expect([ints(base!, 2), new Set(ints(ids!, 2)).size, perPage]).toEqual([[0, 1], 2, expect.any(Number)]);
});

it('staged rows have room for what was asked for, and for nothing else', () => {
  const memory = new HostMemory();
  const staged = new DeviceStaged(memory.device, { slots: 3, k: 32, inputs: ['nvfp4'] });
  const { codes, sf, rowScale, floats } = staged.addresses;
  expect([sf - codes, rowScale - sf, floats]).toEqual([256, 256, 0]);
  expect(() => staged.empty('stage', 4, 32, 'nvfp4')).toThrow('stage: "staged" holds at most slots = 3 rows of k = 32');
  expect(() => staged.empty('stage', 3, 32, 'f32')).toThrow('stage: "staged" was made for inputs nvfp4, got "f32"');
  staged.dispose();
  expect(memory.held).toBe(0);
});
