/** Arguments of wrong kinds, and arrays that are not what they seem: each function names what is wrong, and reads everything once. */
import { expect, it } from 'vitest';
import * as reference from '../src/index';

const never = (v: unknown): never => v as never;

/** What `f` throws, as `code: message`. */
function thrown(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    const { code, message, name } = error as Error & { code?: string };
    return `${code ?? name}: ${message}`;
  }
  return 'nothing';
}

const A = [1, 2, 3, 4];
const NVFP4 = { m: 1, k: 16, globalDecodeScale: 1 };
const blocks = (n: number): Float64Array => Float64Array.from({ length: n }, (_, i) => Math.sin(i));
const HYPER = { t: 1, hc: 1, d: 2, rmsNormEps: 1e-6, hcEps: 1e-6 };
const ATTENTION = { n: 1, firstPosition: 0, heads: 1, d: 2, window: 1, softmaxScale: 1, kv: [1, 2], sinks: [0] };

/** Calls that are right, and the numbers that they give. */
const right: Record<string, (x: (values: readonly number[]) => ArrayLike<number>) => unknown> = {
  compareTensors: (x) => reference.compareTensors(x(A), x([1, 2, 3, 5])),
  cosine: (x) => reference.cosine(x(A), x([4, 3, 2, 1])),
  firstMismatch: (x) => reference.firstMismatch(x(A), x([1, 2, 3, 5])),
  maxAbs: (x) => reference.maxAbs(x(A), x([1, 2, 3, 5])),
  maxUlp: (x) => reference.maxUlp(x(A), x([1, 2, 3, 5])),
  nmse: (x) => reference.nmse(x(A), x([1, 2, 3, 5])),
  nvfp4GlobalDecodeScale: (x) => reference.nvfp4GlobalDecodeScale(x(A)),
  nvfp4RowDecodeScales: (x) => reference.nvfp4RowDecodeScales(x(A), { m: 2, k: 2 }),
  quantizeNvfp4: (x) => reference.quantizeNvfp4(x([...blocks(16)]), NVFP4),
  roundTripNvfp4: (x) => reference.roundTripNvfp4(x([...blocks(16)]), NVFP4),
  quantizeFp8: (x) => reference.quantizeFp8(x(A), { n: 2, k: 2 }, 'f32'),
  quantizeMxfp4: (x) => reference.quantizeMxfp4(x([...blocks(32)]), { n: 1, k: 32 }),
  quantizeCompressedTensors: (x) => reference.quantizeCompressedTensors(x([...blocks(16)]), { n: 1, k: 16 }),
  linear: (x) => reference.linear(x(A), x(A), { m: 2, n: 2, k: 2 }),
  groupedGemm: (x) => reference.groupedGemm(x(A), x([...A, ...A]), { n: 2, k: 2, expertOffsets: x([1, 2]) }),
  gatherRows: (x) => reference.gatherRows(x(A), x([1, 0]), 2),
  assignSlots: (x) => reference.assignSlots(x([1, 0, -1, 1]), { t: 2, topk: 2, numExperts: 2 }),
  expertOfRow: (x) => reference.expertOfRow(x([1, 2]), 1),
  paddedOffsets: (x) => reference.paddedOffsets(x([1, 2])),
  rmsNorm: (x) => reference.rmsNorm(x(A), x([1, 2]), { m: 2, d: 2, eps: 1e-6 }),
  swiglu: (x) => reference.swiglu(x(A), { m: 1, i: 2, limit: 10 }),
  applyRope: (x) => reference.applyRope(x(A), { positions: x([0, 1]), heads: 1, d: 2, frequencies: x([1]) }),
  hcHead: (x) => reference.hcHead(x([1, 2]), { fn: x([1, 2]), base: x([1]), scale: x([1]) }, HYPER),
  hcPost: (x) => reference.hcPost(x([1, 2]), x([3, 4]), { post: x([1]), comb: x([1]) }, HYPER),
  hcPre: (x) =>
    reference.hcPre(
      x([1, 2]),
      { fn: x([1, 2, 3, 4, 5, 6]), base: x([1, 2, 3]), scale: x([1, 2, 3]) },
      { ...HYPER, iters: 1 },
    ),
  indexScores: (x) => reference.indexScores(x([1, 2]), x(A), x([1]), { n: 1, heads: 1, dim: 2, entries: 2 }),
  topK: (x) => reference.topK(x(A), 2),
  attend: (x) => reference.attend(x([1, 2]), { ...ATTENTION, kv: x([1, 2]), sinks: x([0]) }),
  hashIds: (x) => reference.hashIds(x([1]), x(A), 2),
  routerScores: (x) => reference.routerScores(x(A), 'softmax'),
  logSoftmax: (x) => reference.logSoftmax(x(A)),
  processLogits: (x) => reference.processLogits(x(A), {}, { promptIds: x([1]), outputIds: x([2]) }),
};

/** A Float64Array of a derived class whose methods and iterator are not those of an array. */
function derived(values: readonly number[]): Float64Array {
  const made = new (class Mine extends Float64Array {})(values);
  for (const method of ['subarray', 'slice', 'map', 'forEach', 'reduce', 'every', 'fill', Symbol.iterator])
    Object.defineProperty(made, method, { value: () => [][Symbol.iterator]() });
  return made;
}

it.each(Object.entries(right))('%s takes any array of numbers for what it holds', (name, call) => {
  const want = call((values) => Float64Array.from(values));
  expect(call((values) => [...values])).toEqual(want);
  expect(call(derived)).toEqual(want);
  const pretenders: [string, (values: readonly number[]) => unknown][] = [
    ['KIND', () => null],
    ['KIND', () => 3],
    ['KIND', (values) => ({ length: values.length })],
    ['KIND', (values) => BigInt64Array.from(values, (v) => BigInt(Math.round(v)))],
    ['KIND', (values) => new Proxy(Float64Array.from(values), {})],
    ['KIND', (values) => Object.defineProperty(Float64Array.from(values), 'length', { value: 99 })],
    ['KIND', (values) => values.map(String)],
  ];
  for (const [code, make] of pretenders) {
    const said = thrown(() => call(never(make)));
    // Token ids have a rule of their own: an element that is none is a wrong value.
    expect(said).toMatch(new RegExp(`^ERR_(?:${code}|VALUE): ${name}: "`));
  }
});

it.each<[string, () => unknown, string]>([
  ['coordinatesOf', () => reference.coordinatesOf(0, never(undefined)), '"shape" must be an array of numbers'],
  ['ulpDistance', () => reference.ulpDistance(never(1n), 1), 'takes two numbers, got 1 and 1'],
  ['linear', () => reference.linear(A, A, never(null)), '"shape" must be an object, got null'],
  ['linear', () => reference.linear([], [], { m: 2 ** 30, n: 2 ** 30, k: 0 }), '"result" of length M*G*N'],
  ['roundToFloat32', () => reference.roundToFloat32(never(3), 0), '"mantissa" must be a bigint, got 3'],
  ['roundToFloat32', () => reference.roundToFloat32(3n, never('x')), '"exponent" must be an integer'],
  ['assignSlots', () => reference.assignSlots([], { t: 0, topk: 0, numExperts: 2 ** 30 }), '"numExperts" must be'],
  ['ropeFrequencies', () => reference.ropeFrequencies({ ropeDim: 2 ** 30, theta: 2 }), '"ropeDim" must be an integer'],
  ['ropeFrequencies', () => reference.ropeFrequencies(never(undefined)), '"options" must be an object'],
  ['sfOffset128x4', () => reference.sfOffset128x4(0, 0, never(4n)), '"kSf" must be an integer'],
  ['visibleSet', () => reference.visibleSet(never({ n: 1, firstPosition: 0n })), '"firstPosition" must be an integer'],
  ['quantizeFp8', () => reference.quantizeFp8(A, { n: 2, k: 2 }, never('x')), '"kind" must be one of e8m0, f32'],
  [
    'dequantizeNvfp4',
    () => reference.dequantizeNvfp4({ codes: never(blocks(8)), sf: new Uint8Array(1) }, NVFP4),
    '"codes" must be a Uint8Array, got Float64Array',
  ],
  ['dequantizeFp8', () => reference.dequantizeFp8(never(null), { n: 1, k: 1 }), '"matrix" must be an object, got null'],
  ['expertForward', () => reference.expertForward(A, never(null), { d: 4, i: 1, swigluLimit: 1 }), '"expert" must be'],
  [
    'expertForward',
    () => reference.expertForward(A, { w1: A, w3: A, w2: [1] }, { d: 4, i: 1, swigluLimit: 1 }),
    '"expert.w2" must have length D*I = 4, got 1',
  ],
  [
    'mixtureOfExperts',
    () =>
      reference.mixtureOfExperts(A, {
        ...{ t: 1, d: 4, i: 1, topk: 1, swigluLimit: 1, topkIds: [0], topkWeights: [1] },
        expert: () => never(undefined),
      }),
    '"expert" must be an object, got undefined',
  ],
  [
    'groupedGemmExact',
    () =>
      reference.groupedGemmExact({
        ...{ n: 1, k: 16, aCodes: new Uint8Array(8), aSf: Uint8Array.of(1), bCodes: new Uint8Array(8) },
        ...{ bSf: Uint8Array.of(1), expertOffsets: [1], alpha: [1e39] }, // no float32 holds it
      }),
    '"alpha" must be finite, got Infinity at index 0',
  ],
  ['processLogits', () => reference.processLogits(A, never({ badWords: 3 }), never({})), '"badWords" must be an array'],
  ['processLogits', () => reference.processLogits(A, {}, never(null)), '"history" must be an object, got null'],
  ['explainDump', () => reference.explainDump(never({})), '"dump.metadata" must be a Map, got undefined'],
  ['explainSteps', () => reference.explainSteps(never(null)), '"dump" must be an object, got null'],
  ['referenceForward', () => reference.referenceForward(never({}), () => [], [1]), '"vocabSize" must be an integer'],
])('%s names what is wrong', (name, f, text) => {
  expect(thrown(f)).toContain(`${name}: ${text}`);
});

it('a number far below the smallest float32 is 0, however far', () => {
  expect(reference.roundToFloat32(5n, -(2 ** 31))).toBe(0);
  expect(reference.roundToFloat32(-5n, -(2 ** 40))).toBe(-0);
  expect(reference.roundToFloat32(1n, -150)).toBe(0); // half of the smallest, a tie to even
  expect(reference.roundToFloat32(3n, -151)).toBe(2 ** -149);
});

it('an object like an array holds its elements itself, and is read once', () => {
  const likes = { length: 2, 0: 1, 1: 2 };
  expect(reference.maxAbs(Float32Array.of(1, 5), likes)).toBe(3);
  const got = Float32Array.of(1, 5);
  const sly = {
    ...likes,
    get 1() {
      structuredClone(got.buffer, { transfer: [got.buffer] });
      return 2;
    },
  };
  expect(thrown(() => reference.maxAbs(got, sly))).toBe(
    'ERR_KIND: maxAbs: "want" must be an array of numbers, got undefined at index 1',
  );
  expect([...got]).toEqual([1, 5]);
});

it('what a getter does to an array on the way changes no result', () => {
  const want = reference.dequantizeNvfp4({ codes: new Uint8Array(8).fill(0x21), sf: Uint8Array.of(0x38) }, NVFP4);
  const codes = new Uint8Array(8).fill(0x21);
  const matrix = {
    codes,
    get sf() {
      structuredClone(codes.buffer, { transfer: [codes.buffer] });
      return Uint8Array.of(0x38);
    },
  };
  expect(thrown(() => reference.dequantizeNvfp4(matrix, NVFP4))).toBe(
    'ERR_SHAPE: dequantizeNvfp4: "codes" must have length M*K/2 = 8, got 0',
  );
  let asked = 0;
  const shape = {
    ...NVFP4,
    get k() {
      return asked++ === 0 ? 16 : 32;
    },
  };
  expect(reference.dequantizeNvfp4({ codes: new Uint8Array(8).fill(0x21), sf: Uint8Array.of(0x38) }, shape)).toEqual(
    want,
  );
});
