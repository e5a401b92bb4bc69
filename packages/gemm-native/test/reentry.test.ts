import { expect, it } from 'vitest';
import type { ExpertPool, ExpertsWeight, GemmKernels, Staged } from '../src/index';
import { stageFrom } from '../src/index';
import { BACKENDS } from './backends';

const [E, N, K] = [2, 4, 16];

interface Parts {
  readonly kernels: GemmKernels;
  readonly pool: ExpertPool;
  readonly first: ExpertsWeight;
  readonly staged: Staged;
  readonly out: Float32Array;
  readonly multiply: (w: ExpertsWeight, out?: Float32Array) => void;
}

/** Two weights that share a pool of one slot; reading an expert of the first calls `read`. */
function make(kernels: GemmKernels, read: (parts: Parts, other: ExpertsWeight) => void): Parts {
  const pool = kernels.createExpertPool({ n: N, k: K, format: 'f32', slots: 1 });
  const staged = kernels.createStaged({ slots: 2, k: K, inputs: ['f32', 'nvfp4'] });
  const expertOffsets = Int32Array.of(1, 2);
  kernels.stage({
    ...{ x: new Float32Array(2 * K).fill(1), k: K, slotToken: null, slots: 2, expertOffsets, inputs: 'f32' },
    ...{ globalDecodeScale: null, staged },
  });
  const weight = (value: number, before: () => void): ExpertsWeight =>
    kernels.packExperts({
      ...{ numExperts: E, n: N, k: K, format: 'f32', pool },
      read: () => {
        before();
        return { data: new Float32Array(N * K).fill(value) };
      },
    });
  const out: Float32Array = new Float32Array(2 * N);
  const multiply = (w: ExpertsWeight, to: Float32Array = out): void =>
    kernels.groupedGemm({ w, staged, slots: 2, expertOffsets, alpha: null, out: to });
  const other = weight(2, () => undefined);
  const parts: Parts = { kernels, pool, staged, out, multiply, first: weight(4, () => read(parts, other)) };
  return parts;
}

const codeOf = (f: () => unknown): string | undefined => {
  try {
    f();
  } catch (e) {
    return (e as { code?: string }).code ?? 'no code';
  }
  return undefined;
};

it.each(BACKENDS)('$name: reading an expert may do anything: the answer is right, or an error', ({ kernels }) => {
  const tricks: Record<string, (parts: Parts, other: ExpertsWeight) => void> = {
    'multiplies by the other weight': ({ multiply }, other) => multiply(other, new Float32Array(2 * N)),
    'multiplies by the same weight': ({ multiply, first }) => multiply(first),
    'disposes of its weight': ({ first }) => first.dispose(),
    'disposes of the pool': ({ pool }) => pool.dispose(),
    'disposes of what is staged': ({ staged }) => staged.dispose(),
    'stages other rows': ({ staged }) =>
      stageFrom({ staged, rows: 2, k: K, codes: new Uint8Array(K), sf: new Uint8Array(2) }),
    'takes the output away': ({ out }) => void structuredClone(out.buffer, { transfer: [out.buffer as ArrayBuffer] }),
  };
  for (const [name, trick] of Object.entries(tricks)) {
    const parts = make(kernels, trick);
    expect(
      codeOf(() => parts.multiply(parts.first)),
      name,
    ).toMatch(/^ERR_(?:VALUE|KIND|SHAPE)$/);
    // What is left works, or says that it was disposed; nothing of the broken call is found in the pool.
    const fresh = make(kernels, () => undefined);
    fresh.multiply(fresh.first);
    expect([...fresh.out], name).toEqual(new Array(2 * N).fill(64));
  }
  const caught = make(kernels, ({ multiply }, other) => void codeOf(() => multiply(other)));
  caught.multiply(caught.first); // who catches the error of the second call gets the first one's answer
  expect([...caught.out]).toEqual(new Array(2 * N).fill(64));
  expect(caught.pool.bytes).toBe(kernels.packedBytes('f32', 1, N, K));
});

it.each(BACKENDS)('$name takes each argument once, whatever a getter does', ({ kernels }) => {
  const x = Float32Array.of(1, 2, 3, 4);
  const out = new Float32Array(4);
  let reads = 0;
  const nested = { out: new Float32Array(1), x: Float32Array.of(5), n: 1 };
  kernels.add({
    out,
    n: 4,
    get x() {
      reads++;
      kernels.add(nested); // the same operation, before this call has all its arguments
      return reads === 1 ? x : new Float32Array(0);
    },
  });
  expect([...out]).toEqual([1, 2, 3, 4]);
  expect([...nested.out]).toEqual([5]);
  expect(reads).toBe(1);
});

it.each(BACKENDS)('$name refuses handles that only look like one', ({ kernels }) => {
  const parts = make(kernels, () => undefined);
  const looksLike = <T extends object>(v: T): T =>
    Object.create(Object.getPrototypeOf(v) as object, Object.getOwnPropertyDescriptors(v)) as T;
  const offsets = Int32Array.of(1, 2);
  const call = { staged: parts.staged, slots: 2, expertOffsets: offsets, alpha: null, out: parts.out };
  for (const w of [looksLike(parts.first), new Proxy(parts.first, {}), {} as ExpertsWeight])
    expect(codeOf(() => kernels.groupedGemm({ ...call, w }))).toBe('ERR_KIND');
  for (const staged of [looksLike(parts.staged), new Proxy(parts.staged, {})])
    expect(codeOf(() => kernels.groupedGemm({ ...call, w: parts.first, staged }))).toBe('ERR_KIND');
  for (const pool of [looksLike(parts.pool), new Proxy(parts.pool, {})])
    expect(
      codeOf(() =>
        kernels.packExperts({ numExperts: 1, n: N, k: K, format: 'f32', pool, read: () => ({ data: parts.out }) }),
      ),
    ).toBe('ERR_KIND');
});
