/** Weights of the smallest model that has every kind of layer: numbers that follow from their names, made when they are asked for. */
export const CONFIG = {
  ...{ vocabSize: 12, hiddenSize: 16, numHiddenLayers: 2, numAttentionHeads: 2, headDim: 8, ropeHeadDim: 4 },
  ...{ qLoraRank: 8, oLoraRank: 4, oGroups: 2, slidingWindow: 4, compressRatios: [0, 4], indexNHeads: 2 },
  ...{ indexHeadDim: 4, indexTopk: 2, numExperts: 4, numSharedExperts: 1, numExpertsPerTok: 2 },
  ...{ moeIntermediateSize: 16, numHashLayers: 1, scoringFunc: 'sqrtsoftplus', normTopkProb: true },
  ...{ routedScalingFactor: 1.5, swigluLimit: 10, hcMult: 2, hcSinkhornIters: 2, hcEps: 1e-6, rmsNormEps: 1e-6 },
  ...{ ropeTheta: 1e4, compressRopeTheta: 1e5, yarn: undefined, maxPositionEmbeddings: 64, bosTokenId: 0 },
  ...{ eosTokenIds: [1], tieWordEmbeddings: false },
};

function numbers(name, n) {
  if (!(n < 1e6)) throw Object.assign(new Error(`there is no such tensor as ${String(name)}`), { userMade: true });
  return Float32Array.from({ length: n }, (_, i) => Math.sin(String(name).length + 1.7 * i) / 2);
}

/** A class of its own: what fuzzes arguments does not look into it. */
export class TinySource {
  config = structuredClone(CONFIG);

  linear(module, n, k) {
    return { format: 'f32', n, k, data: numbers(module, n * k) };
  }

  expert(layer, expert, matrix) {
    const { hiddenSize: d, moeIntermediateSize: i } = CONFIG;
    const [n, k] = matrix === 'w2' ? [d, i] : [i, d];
    return { format: 'f32', n, k, data: numbers(`${layer} ${expert} ${matrix}`, n * k) };
  }

  vector(name, length) {
    return numbers(name, length);
  }

  ints(name, shape) {
    return Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i * 3) % CONFIG.numExperts);
  }
}
