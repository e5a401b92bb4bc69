/** Valid calls of sampler. */
const V = 12;
const params = (r) => ({
  ...r.pick([{}, { temperature: 0 }, { temperature: 0.8, topK: 3, topP: 0.9, minP: 0.1 }]),
  ...r.pick([{}, { repetitionPenalty: 1.1, presencePenalty: 0.5, frequencyPenalty: 0.1 }]),
  ...r.pick([{}, { badWords: [[1, 2], [3]], minTokens: 1 }, { allowedTokenIds: [1, 2, 3], logprobs: 2 }]),
  ...r.pick([{}, { logitBias: new Map([[2, 1.5]]) }]),
  seed: r.pick([1, 2n, '3']),
});
const options = (r, m) => ({
  vocabSize: V,
  params: params(r),
  promptIds: r.ints(r.int(0, 4), 0, V - 1),
  sequence: r.below(3),
  stopIds: [1, 5],
  scratch: m.createSamplerScratch(V),
});
const sampler = (r, m) => {
  const self = new m.Sampler(options(r, m));
  if (r.flag()) self.accept(r.below(V));
  return self;
};
const stops = (r) => ({
  stopIds: [7],
  stopStrings: ['end', 'stop'],
  ignoreEos: r.flag(),
  eosIds: [3],
  includeStop: r.flag(),
  minTokens: r.below(2),
});
const checker = (r, m) => new m.StopChecker(stops(r));

export const calls = {
  Sampler: (r, m) => ({
    args: [options(r, m)],
    observe: (s) => ({ params: s.params, position: s.position }),
  }),
  'Sampler.position': (r, m) => ({ self: sampler(r, m), args: [] }),
  'Sampler.sample': (r, m) => ({ self: sampler(r, m), args: [r.floats(V)], state: ({ self }) => self.position }),
  'Sampler.accept': (r, m) => ({ self: sampler(r, m), args: [r.below(V)], state: ({ self }) => self.position }),
  StopChecker: (r) => ({
    args: [stops(r)],
    observe: (s) => [s.push(1, 'xen'), s.push(2, 'd')],
  }),
  'StopChecker.push': (r, m) => ({
    self: checker(r, m),
    args: [r.below(9), r.pick(['a', '', 'en', 'end of', '\ud800'])],
  }),
  'StopChecker.flush': (r, m) => ({ self: checker(r, m), args: [] }),
  createSamplerScratch: () => ({ args: [V] }),
  philox4x32: (r) => ({ args: [1, 2, 3, 4, 5, 6, new Uint32Array(4 + r.below(2))], writes: ['6'] }),
  processLogits(r) {
    const logits = r.floats(V);
    const given = {
      ...{ params: params(r), promptIds: r.ints(3, 0, V - 1), outputIds: [1, 2], stopIds: [4] },
      stage: r.pick(['penalties', 'temperature', 'truncation']),
    };
    return { args: [logits, given, r.pick([undefined, r.floats(V), logits])], writes: ['2'] };
  },
  resolveSamplingParams: (r, m) => ({ args: [params(r), V], f: (p, v) => m.resolveSamplingParams(p, v) }),
  scoreToken: (r, m) => ({ args: [r.floats(V), r.below(V), r.int(0, 3), m.createSamplerScratch(V)] }),
};
