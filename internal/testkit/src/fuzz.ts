import fc from 'fast-check';
import { expect } from 'vitest';
import { seeded } from './seeded';

/** A function's name and the arguments for it. */
export type FuzzCall = [string, unknown[]];

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

const size = fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 0, max: 70 }) }, fc.constantFrom(0, 16, 48, 512));

/** An argument of a kind: w one of `weights`, f Float32Array, d Float64Array, b Uint8Array, i Int32Array, n small integer, t boolean, e small number. */
function ofKind(kind: string, weights: readonly unknown[]): fc.Arbitrary<unknown> {
  switch (kind.toLowerCase()) {
    case 'w':
      return fc.constantFrom(...weights);
    case 'f':
      return size.map((n) => new Float32Array(n).fill(1));
    case 'd':
      return size.map((n) => new Float64Array(n).fill(1));
    case 'b':
      return size.map((n) => new Uint8Array(n).fill(0x31));
    case 'i':
      return fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 }).map((v) => Int32Array.from(v).sort());
    case 't':
      return fc.boolean();
    case 'n':
      return fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 3 }) }, fc.constantFrom(16, 32));
    default:
      return fc.constantFrom(0, 1e-6, 1, 10);
  }
}

/**
 * Calls that are nearly right: each argument is of its kind nine times in ten, so that calls get past the first checks and reach the
 * kernels now and then.
 * @param signatures for each function a letter per argument: w one of `weights`, f Float32Array, d Float64Array, b Uint8Array, i Int32Array, n small
 *   integer, t boolean, e small number; a capital may be null
 */
export function nearlyRightCalls(
  signatures: Readonly<Record<string, string>>,
  weights: readonly unknown[] = [null],
): fc.Arbitrary<FuzzCall> {
  return fc
    .constantFrom(...Object.keys(signatures))
    .chain((name) =>
      fc.tuple(
        fc.constant(name),
        fc.tuple(
          ...[...signatures[name]!].map((kind) =>
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

/** Calls with arguments of every kind. */
export function anyCalls(names: readonly string[]): fc.Arbitrary<FuzzCall> {
  return fc.tuple(fc.constantFrom(...names), fc.array(anything, { maxLength: 22 }));
}

/**
 * Makes calls of methods of `target`; each must return or throw an Error. Returns how often each method did its work.
 * @param lead arguments in front of all others
 */
export function makeCalls(
  target: object,
  arbitrary: fc.Arbitrary<FuzzCall>,
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
