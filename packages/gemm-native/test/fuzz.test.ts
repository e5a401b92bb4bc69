import { loadAddon } from '@megamoe/native-kit';
import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { GemmKernels } from '../src/index';
import type { GemmAddon } from '../src/native-engine';
import { BACKENDS, pack } from './backends';

/** Arguments of every kind, most of them wrong for any place. */
const anything = fc.oneof(
  fc.constantFrom<unknown>(
    undefined,
    null,
    true,
    '',
    'x',
    NaN,
    -1,
    0,
    1,
    2,
    16,
    1.5,
    2 ** 31,
    2 ** 53,
    -Infinity,
    1n,
    {},
    [],
  ),
  fc.constantFrom<unknown>(() => 0, Symbol.iterator, new ArrayBuffer(8), new DataView(new ArrayBuffer(8)), new Date(0)),
  fc.integer({ min: 0, max: 40 }).map((n) => seeded(n).floats(n)),
  fc.integer({ min: 0, max: 40 }).map((n) => seeded(n).bytes(n)),
  fc.array(fc.integer({ min: -2, max: 5 }), { maxLength: 8 }).map((a) => Int32Array.from(a)),
  fc.constantFrom<unknown>(new Float64Array(8), new Uint16Array(8), new BigInt64Array(4), new Float32Array(0)),
);

it.each(BACKENDS)('$name survives random arguments: an error or a result, never a crash', ({ kernels }) => {
  const good = [
    kernels.packLinear({ n: 2, k: 3, dtype: 'f32', data: new Float32Array(6) }),
    pack(kernels, { numExperts: 1, n: 2, k: 16, parts: 1, codes: new Uint8Array(16), sf: new Uint8Array(2) }),
  ];
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(kernels)).filter((m) => m !== 'constructor');
  expect(methods.length).toBe(16);
  const argument = fc.oneof(
    { weight: 8, arbitrary: anything },
    { weight: 2, arbitrary: fc.constantFrom<unknown>(...good) },
  );
  fc.assert(
    fc.property(fc.constantFrom(...methods), fc.array(argument, { maxLength: 15 }), (method, args) => {
      const f = kernels[method as keyof GemmKernels] as (...a: unknown[]) => unknown;
      try {
        f.apply(kernels, args);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }),
    { numRuns: 4000, seed: 11 },
  );
});

it('the addon itself survives random arguments, without the checks in front of it', () => {
  const addon = loadAddon<GemmAddon>({ packageUrl: import.meta.url, name: 'gemm-native' }).addon;
  const functions = Object.entries(addon ?? {}).filter(([, f]) => typeof f === 'function') as [string, () => unknown][];
  expect(functions.length).toBe(addon === undefined ? 0 : 17);
  if (addon === undefined) return; // js only: there is no second line to test
  const good: unknown[] = [0, 1, 2].map((format) => addon.createWeight(format, 2, 3, 16));
  const argument = fc.oneof({ weight: 7, arbitrary: anything }, { weight: 3, arbitrary: fc.constantFrom(...good) });
  fc.assert(
    fc.property(
      fc.constantFrom(...functions),
      fc.array(argument, { maxLength: 15 }),
      fc.boolean(),
      ([name, f], rest, lead) => {
        const args = lead && name !== 'createWeight' && !name.startsWith('put') ? [0, 1, ...rest] : rest;
        try {
          (f as (...a: unknown[]) => unknown)(...args);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      },
    ),
    { numRuns: 8000, seed: 12 },
  );
});
