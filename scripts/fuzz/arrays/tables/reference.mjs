/** Valid calls of reference: small shapes, arrays of float32, float64 or plain numbers. */
const numbers = (r, n) => r.pick([r.floats(n), r.doubles(n), Array.from(r.floats(n))]);
const ids = (r, n, min, max) => r.pick([r.ints(n, min, max), Array.from(r.ints(n, min, max))]);
const of = (make) => (r) => ({ args: make(r) });
/** A NaN among numbers of a model is found where it comes to. */
const withLayers = (make) => (r) => ({ args: make(r), says: ['mixtureOfExperts'] });

const pair = (r) => {
  const n = r.int(1, 6);
  return [numbers(r, n), numbers(r, n)];
};
const matrixShape = (r, block = 32) => ({ n: r.int(1, 3), k: block * r.int(1, 2) });
const values = (r, { n, k }) => numbers(r, n * k);
const writer = (block, ...more) =>
  of((r) => {
    const shape = matrixShape(r, block);
    return [values(r, shape), shape, ...more.map((f) => f(r))];
  });
const reader = (block, make) =>
  of((r) => {
    const shape = matrixShape(r, block);
    return [make(r, shape), shape];
  });
const nvfp4Shape = (r) => {
  const m = r.int(1, 3);
  return { m, k: 16 * r.int(1, 2), globalDecodeScale: r.pick([0.5, r.doubles(m).map((x) => x + 0.1)]) };
};
const nvfp4 = (r, { m, k }) => ({ codes: r.bytes((m * k) / 2), sf: r.scales((m * k) / 16) });
const gemm = (r) => {
  const [experts, n, k] = [2, 4, 16 * r.int(1, 2)];
  const expertOffsets = r.ends(experts, 2);
  const rows = expertOffsets[experts - 1];
  return {
    ...{ n, k, parts: 2, expertOffsets, aCodes: r.bytes((rows * k) / 2), aSf: r.scales((rows * k) / 16) },
    ...{ bCodes: r.bytes((experts * n * k) / 2), bSf: r.scales((experts * n * k) / 16) },
    ...{ alpha: numbers(r, experts * 2), rowScale: r.pick([null, numbers(r, rows)]) },
  };
};
const hyper = (r) => ({ t: r.int(1, 2), hc: 2, d: 4, rmsNormEps: 1e-6, hcEps: 1e-6 });
const streams = (r, { t, hc, d }) => numbers(r, t * hc * d);
const index = (r) => ({ n: r.int(1, 2), heads: 2, dim: 4, entries: r.int(0, 3) });
const indexed = (r, s) => [numbers(r, s.n * s.heads * s.dim), numbers(r, s.entries * s.dim), numbers(r, s.n * s.heads)];
const expert = (r, { d, i }) => ({
  ...{ w1: numbers(r, i * d), w3: numbers(r, i * d), w2: numbers(r, d * i), w13InputScale: 0.5, w2InputScale: 0.5 },
});
const expertShape = (r) => ({
  d: 16,
  i: 16,
  swigluLimit: 10,
  activations: r.pick(['float', 'nvfp4', 'nvfp4-dynamic']),
});
const knobs = (r) => ({
  ...{ temperature: r.pick([0, 0.7]), topK: 3, topP: 0.9, minP: 0.1, repetitionPenalty: 1.1, presencePenalty: 0.5 },
  ...{ frequencyPenalty: 0.1, logitBias: new Map([[2, 1.5]]), badWords: [[1, 2], [3]], minTokens: r.below(3) },
  ...r.pick([{}, { allowedTokenIds: [1, 2, 3, 4] }]),
});
const V = 8;
const CONFIG = {
  ...{
    vocabSize: V,
    hiddenSize: 8,
    numHiddenLayers: 2,
    numAttentionHeads: 2,
    headDim: 8,
    ropeHeadDim: 4,
    qLoraRank: 4,
  },
  ...{
    oLoraRank: 4,
    oGroups: 2,
    slidingWindow: 4,
    compressRatios: [0, 4],
    indexNHeads: 2,
    indexHeadDim: 4,
    indexTopk: 2,
  },
  ...{ numExperts: 4, numSharedExperts: 1, numExpertsPerTok: 2, moeIntermediateSize: 16, numHashLayers: 1 },
  ...{ scoringFunc: 'sqrtsoftplus', normTopkProb: true, routedScalingFactor: 1.5, swigluLimit: 10, hcMult: 2 },
  ...{ hcSinkhornIters: 2, hcEps: 1e-6, rmsNormEps: 1e-6, ropeTheta: 1e4, compressRopeTheta: 1e5, yarn: undefined },
  tieWordEmbeddings: false,
};
const config = () => ({ ...CONFIG, compressRatios: [...CONFIG.compressRatios] });
/** Numbers that follow from a tensor's name alone. */
function weights(name, shape) {
  const n = shape.reduce((a, b) => a * b, 1);
  if (!(n < 1e6)) throw Object.assign(new Error('there is no such tensor'), { userMade: true });
  if (name.endsWith('tid2eid')) return Int32Array.from({ length: n }, (_, i) => (i * 3) % CONFIG.numExperts);
  return Float64Array.from({ length: n }, (_, i) => Math.sin(name.length + 1.7 * i) / 2);
}
const floatTensor = (r, ...shape) => {
  const data = r.floats(shape.reduce((a, b) => a * b, 1));
  return { dtype: 'F32', shape, bytes: new Uint8Array(data.buffer) };
};
const dump = (r) => ({
  file: 'a dump',
  metadata: new Map([['op', 'residual_mix']]),
  tensors: new Map([
    ['in.streams', floatTensor(r, 2, 2, 4)],
    ['in.out', floatTensor(r, 2, 4)],
    ['in.post', floatTensor(r, 2, 2)],
    ['in.comb', floatTensor(r, 2, 2, 2)],
    ['out.streams', floatTensor(r, 2, 2, 4)],
  ]),
});
/** What a generator gives in the end. */
function last(steps) {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

export const calls = {
  compareTensors: of((r) => [...pair(r)]),
  coordinatesOf: of((r) => [r.below(6), [2, 3]]),
  cosine: of(pair),
  firstMismatch: of((r) => [numbers(r, 6), numbers(r, 6), { tolerance: r.pick([0, 0.5]), shape: [2, 3] }]),
  maxAbs: of(pair),
  maxUlp: of(pair),
  nmse: of(pair),
  ulpDistance: of((r) => [r.unit(), r.unit()]),
  dequantizeNvfp4: of((r) => {
    const shape = nvfp4Shape(r);
    return [nvfp4(r, shape), shape];
  }),
  nvfp4GlobalDecodeScale: of((r) => [numbers(r, r.int(0, 5))]),
  nvfp4RowDecodeScales: of((r) => [numbers(r, 6), { m: 2, k: 3 }]),
  quantizeNvfp4: of((r) => {
    const shape = nvfp4Shape(r);
    return [numbers(r, shape.m * shape.k), shape];
  }),
  roundTripNvfp4: of((r) => {
    const shape = nvfp4Shape(r);
    return [numbers(r, shape.m * shape.k), shape];
  }),
  groupedGemmByBlocks: of((r) => [gemm(r)]),
  dequantizeCompressedTensors: reader(16, (r, { n, k }) => ({ ...nvfp4(r, { m: n, k }), globalEncodeScale: 4 })),
  dequantizeFp8: reader(1, (r, { n, k }) => ({ codes: r.bytes(n * k), scales: r.floats(1) })),
  dequantizeMxfp4: reader(32, (r, { n, k }) => ({ codes: r.bytes((n * k) / 2), e8m0: r.bytes((n * k) / 32) })),
  quantizeCompressedTensors: writer(16),
  quantizeFp8: writer(1, (r) => r.pick(['e8m0', 'f32'])),
  quantizeMxfp4: writer(32),
  groupedGemmExact: of((r) => [gemm(r)]),
  roundToFloat32: of((r) => [BigInt(r.int(-99, 99)), r.int(-160, 130)]),
  gatherRows: of((r) => [numbers(r, 6), ids(r, 3, 0, 1), 3]),
  groupedGemm: of((r) => {
    const expertOffsets = ids(r, 2, 1, 1);
    const rows = expertOffsets[1];
    return [numbers(r, rows * 3), numbers(r, 2 * 2 * 3), { n: 2, k: 3, expertOffsets, alpha: numbers(r, 4), parts: 2 }];
  }),
  linear: of((r) => [numbers(r, 2 * 2 * 3), numbers(r, 2 * 5 * 3), { m: 2, n: 5, k: 3, groups: 2 }]),
  assignSlots: of((r) => [ids(r, 6, -1, 3), { t: 3, topk: 2, numExperts: 4 }]),
  expertOfRow: of((r) => [r.ends(3, 3).map((end) => end + 1), 0]),
  paddedOffsets: of((r) => [r.ends(3, 3), r.pick([128, 4])]),
  rmsNorm: of((r) => [numbers(r, 6), r.pick([null, numbers(r, 3)]), { m: 2, d: 3, eps: 1e-6 }]),
  swiglu: of((r) => [numbers(r, 12), { m: 2, i: 3, limit: 10 }]),
  hcHead: of((r) => {
    const s = hyper(r);
    return [streams(r, s), { fn: numbers(r, s.hc * s.hc * s.d), base: numbers(r, s.hc), scale: numbers(r, 1) }, s];
  }),
  hcPost: of((r) => {
    const { t, hc, d } = hyper(r);
    const mix = { post: numbers(r, t * hc), comb: numbers(r, t * hc * hc) };
    return [numbers(r, t * hc * d), numbers(r, t * d), mix, { t, hc, d }];
  }),
  hcPre: of((r) => {
    const s = { ...hyper(r), iters: r.int(1, 3) };
    const rows = (2 + s.hc) * s.hc;
    return [streams(r, s), { fn: numbers(r, rows * s.hc * s.d), base: numbers(r, rows), scale: numbers(r, 3) }, s];
  }),
  applyRope: of((r) => [
    numbers(r, 2 * 2 * 6),
    { positions: ids(r, 2, 0, 99), heads: 2, d: 6, frequencies: numbers(r, 2), inverse: r.flag() },
  ]),
  ropeFrequencies: of((r) => [
    {
      ...{ ropeDim: 2 * r.int(1, 4), theta: 1e4 },
      ...r.pick([{}, { yarn: { factor: 16, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 4096 } }]),
    },
  ]),
  compress: of((r) => {
    const [tokens, ratio, dim, overlapping] = [r.int(0, 9), r.pick([2, 4]), 4, r.flag()];
    const width = overlapping ? 2 * dim : dim;
    const more = {
      ape: numbers(r, ratio * width),
      norm: numbers(r, dim),
      rmsNormEps: 1e-6,
      frequencies: numbers(r, 1),
    };
    return [numbers(r, tokens * width), numbers(r, tokens * width), { tokens, ratio, dim, overlapping, ...more }];
  }),
  indexScores: of((r) => {
    const s = index(r);
    return [...indexed(r, s), s];
  }),
  indexSelect: of((r) => {
    const s = { ...index(r), firstPosition: r.int(0, 9), ratio: 4, topk: 2 };
    return [...indexed(r, s), s];
  }),
  topK: of((r) => [numbers(r, 6), r.int(0, 7)]),
  visibleEntries: of((r) => [r.int(0, 99), 4]),
  visibleSet: of((r) => [
    {
      ...{ n: 2, firstPosition: 11, ratio: 4, entries: 3, topk: 2 },
      selected: r.pick([null, ids(r, 4, -1, 2)]),
    },
  ]),
  attend: of((r) => {
    const [n, firstPosition, heads, d, entries] = [r.int(1, 2), r.int(0, 3), 2, 4, r.int(0, 2)];
    const seen = { compressed: numbers(r, entries * d), visible: r.bytes(n * entries, 2) };
    const more = { window: 3, sinks: numbers(r, heads), softmaxScale: 0.5, kv: numbers(r, (firstPosition + n) * d) };
    return [numbers(r, n * heads * d), { n, firstPosition, heads, d, ...seen, ...more }];
  }),
  hashIds: of((r) => [ids(r, 3, 0, 3), ids(r, 8, 0, 5), 2]),
  route: of((r) => [
    numbers(r, 2 * 4),
    {
      ...{ t: 2, numExperts: 4, topk: 2, normTopkProb: r.flag(), routedScalingFactor: 1.5 },
      scoring: r.pick(['sqrtsoftplus', 'softmax', 'sigmoid']),
      ...r.pick([{}, { bias: numbers(r, 4) }, { topkIds: ids(r, 4, 0, 3) }]),
    },
  ]),
  routerScores: of((r) => [numbers(r, 4), r.pick(['sqrtsoftplus', 'softmax', 'sigmoid'])]),
  expertForward: of((r) => {
    const shape = expertShape(r);
    return [numbers(r, 2 * shape.d), expert(r, shape), shape];
  }),
  mixtureOfExperts: of((r) => {
    const shape = expertShape(r);
    const experts = [expert(r, shape), expert(r, shape)];
    const topkIds = ids(r, 4, -1, 1);
    const more = { t: 2, topk: 2, topkIds, topkWeights: numbers(r, 4), expert: (id) => experts[id] };
    return [numbers(r, 2 * shape.d), { ...shape, ...more }];
  }),
  assembleSf128x4: of((r) => {
    const expertOffsets = r.ends(2, 2);
    return [r.bytes(expertOffsets[1] * 4), { kSf: 4, expertOffsets }];
  }),
  sfBytes128x4: of((r) => [r.int(0, 300), r.int(0, 9)]),
  sfOffset128x4: of((r) => [r.int(0, 300), r.int(0, 3), r.int(4, 9)]),
  swizzleSf128x4: of((r) => [r.bytes(12), { rows: 2, kSf: 6 }]),
  isGreedy: of((r) => [r.unit()]),
  logSoftmax: of((r) => [numbers(r, 5)]),
  processLogits: of((r) => [
    numbers(r, V),
    knobs(r),
    { promptIds: ids(r, 3, 0, V - 1), outputIds: ids(r, r.int(0, 3), 0, V - 1), stopIds: [4] },
  ]),
  referenceForward: withLayers((r) => [
    config(),
    weights,
    ids(r, r.int(0, 6), 0, V - 1),
    { activations: r.pick(['float', 'nvfp4-dynamic']), kv: r.pick(['float', 'bf16']), trace: r.flag() },
  ]),
  referenceLayer: withLayers((r) => {
    const s = r.int(1, 5);
    const streams = numbers(r, s * CONFIG.hcMult * CONFIG.hiddenSize);
    return [config(), weights, r.int(0, 1), streams, ids(r, s, 0, V - 1), { kv: r.pick(['float', 'bf16']) }];
  }),
  explainDump: (r) => ({ args: [dump(r)], says: ['a dump'] }),
  explainSteps: (r) => ({ args: [dump(r)], observe: last }),
};
