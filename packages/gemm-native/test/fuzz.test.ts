import { loadAddon } from '@megamoe/native-kit';
import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { expect, it } from 'vitest';
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

/**
 * What each method takes: w weight, f Float32Array, b Uint8Array, i Int32Array, n small integer, e small number; a capital may be null.
 * Arguments of the right kind and random size get past the first checks and reach the kernels now and then.
 */
const SIGNATURES: Record<string, string> = {
  linear: 'wfnf',
  groupedGemmW4A4: 'wbbifFf',
  groupedGemm: 'wfiFf',
  groupedGemmBf16: 'wfiff',
  gatherRows: 'fninf',
  stageNvfp4: 'fnIifbb',
  stageNvfp4Dynamic: 'fnInbbf',
  swiglu: 'fnnef',
  scatterExperts: 'fnifnnf',
  addInPlace: 'ffn',
  rmsNorm: 'fnnFef',
  embed: 'winnf',
  hcPre: 'fnnnfffeenfff',
  hcPost: 'ffnnnff',
  hcHead: 'fnnnfffeef',
};

/** The addon takes the number of parts after the weight of a grouped product,. */
const addonSignature = (name: string): string =>
  name.startsWith('grouped') ? SIGNATURES[name]!.replace('w', 'wn') : SIGNATURES[name]!;

const size = fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 0, max: 70 }) }, fc.constantFrom(0, 16, 48, 512));

function ofKind(kind: string, weights: readonly unknown[]): fc.Arbitrary<unknown> {
  switch (kind.toLowerCase()) {
    case 'w':
      return fc.constantFrom(...weights);
    case 'f':
      return size.map((n) => new Float32Array(n).fill(1));
    case 'b':
      return size.map((n) => new Uint8Array(n).fill(0x31));
    case 'i':
      return fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 }).map((v) => Int32Array.from(v).sort());
    case 'n':
      return fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 3 }) }, fc.constantFrom(16, 32));
    default:
      return fc.constantFrom(0, 1e-6, 1, 10);
  }
}

/** Calls that are nearly right: each argument is of its kind nine times in ten. */
function calls(signatureOf: (name: string) => string, weights: readonly unknown[]): fc.Arbitrary<[string, unknown[]]> {
  return fc
    .constantFrom(...Object.keys(SIGNATURES))
    .chain((name) =>
      fc.tuple(
        fc.constant(name),
        fc.tuple(
          ...[...signatureOf(name)].map((kind) =>
            fc.oneof(
              { weight: 20, arbitrary: ofKind(kind, weights) },
              { weight: kind < 'a' ? 10 : 0, arbitrary: fc.constant(null) },
              { weight: 1, arbitrary: anything },
            ),
          ),
        ),
      ),
    );
}

/** Makes calls; each must return or throw an Error. Returns how often each method did its work. */
function make(
  target: object,
  arbitrary: fc.Arbitrary<[string, unknown[]]>,
  lead: readonly unknown[],
  numRuns: number,
): Record<string, number> {
  const done: Record<string, number> = {};
  fc.assert(
    fc.property(arbitrary, ([name, args]) => {
      const f = target[name as keyof typeof target] as (...a: unknown[]) => unknown;
      try {
        f.apply(target, [...lead, ...args]);
        done[name] = (done[name] ?? 0) + 1;
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }),
    { numRuns, seed: 11 },
  );
  return done;
}

const anyCall = (names: readonly string[]): fc.Arbitrary<[string, unknown[]]> =>
  fc.tuple(fc.constantFrom(...names), fc.array(anything, { maxLength: 15 }));

it.each(BACKENDS)('$name survives random arguments: an error or a result, never a crash', ({ kernels }) => {
  const codes = new Uint8Array(24);
  const sf = new Uint8Array(3);
  const weights = [
    kernels.packLinear({ n: 2, k: 3, dtype: 'f32', data: new Float32Array(6) }),
    kernels.packLinear({ n: 3, k: 16, groups: 2, dtype: 'bf16', data: new Uint16Array(96) }),
    pack(kernels, { numExperts: 1, n: 3, k: 16, parts: 1, codes, sf }),
    pack(kernels, { numExperts: 2, n: 2, k: 16, parts: 2, codes: new Uint8Array(32), sf: new Uint8Array(4) }),
    kernels.packExperts({
      ...{ numExperts: 2, n: 2, k: 16, parts: 2, format: 'nvfp4' },
      read: () => ({ codes: new Uint8Array(8), sf: new Uint8Array(1) }),
      pool: kernels.createExpertPool({ n: 2, k: 16, parts: 2, format: 'nvfp4', slots: 1 }),
    }),
  ];
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(kernels)).filter((m) => m !== 'constructor');
  expect(methods.sort()).toEqual(
    [...Object.keys(SIGNATURES), 'packLinear', 'packExperts', 'createExpertPool', 'packedBytes'].sort(),
  );
  make(kernels, anyCall(methods), [], 2000);
  const done = make(
    kernels,
    calls((name) => SIGNATURES[name]!, weights),
    [],
    12_000,
  );
  expect(Object.keys(done).length).toBeGreaterThan(10); // most methods were reached with arguments that they accept
});

it('the addon itself survives random arguments, without the checks in front of it', () => {
  const addon = loadAddon<GemmAddon>({ packageUrl: import.meta.url, name: 'gemm-native' }).addon;
  const names = Object.keys(addon ?? {}).filter((name) => typeof addon![name as keyof GemmAddon] === 'function');
  expect(names.length).toBe(addon === undefined ? 0 : 25);
  if (addon === undefined) return; // js only: there is no second line to test
  const weights = [0, 1, 2].map((format) => {
    const w = addon.createWeight(format, 2, 3, 16);
    for (const matrix of [0, 1]) {
      if (format === 2) addon.putNvfp4(w, matrix, 0, 3, new Uint8Array(24), new Uint8Array(3), 2);
      else addon.putDense(w, matrix, 0, 3, format === 0 ? new Float32Array(48) : new Uint16Array(48));
    }
    return w;
  });
  make(addon, anyCall(names), [], 4000);
  const done = make(addon, calls(addonSignature, weights), [0, 2], 12_000);
  expect(Object.keys(done).length).toBeGreaterThan(10);
});
