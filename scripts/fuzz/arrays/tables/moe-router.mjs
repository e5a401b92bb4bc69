/** Valid calls of moe-router. */
const SCORINGS = ['sqrtsoftplus', 'softmax', 'sigmoid'];

function sizes(r) {
  const numExperts = r.int(1, 9);
  return { t: r.int(0, 5), numExperts, topk: r.int(1, Math.min(4, numExperts)) };
}
function specOf(r) {
  const { numExperts, topk } = sizes(r);
  return {
    ...{ maxTokens: 5, numExperts, topk, scoring: r.pick(SCORINGS) },
    ...{ normTopkProb: r.flag(), routedScalingFactor: r.pick([1, 2.5]) },
  };
}
const orderOf = (r) => {
  const { t, topk, numExperts } = sizes(r);
  const n = t * topk;
  return [
    r.ints(n, -1, numExperts - 1),
    t,
    topk,
    numExperts,
    new Int32Array(numExperts),
    r.ints(n, 0, 9),
    r.ints(n, 0, 9),
  ];
};

export const parts = (m) => ({
  Router: m.createRouter({ ...specOf({ int: () => 2, flag: () => true, pick: ([first]) => first }) }),
});

export const calls = {
  createRouter: (r) => ({ args: [specOf(r)] }),
  'Router.route'(r, m) {
    const spec = specOf(r);
    const t = r.int(0, 5);
    const n = t * spec.topk;
    const bias = r.pick([null, r.floats(spec.numExperts)]);
    const args = [
      r.floats(t * spec.numExperts + r.below(2)),
      t,
      bias,
      new Int32Array(n + r.below(2)),
      new Float32Array(n),
    ];
    return { self: m.createRouter(spec), args, writes: ['3', '4'] };
  },
  'Router.routeHash'(r, m) {
    const spec = specOf(r);
    const t = r.int(0, 5);
    const n = t * spec.topk;
    const table = r.ints(7 * spec.topk, 0, spec.numExperts - 1);
    const args = [r.floats(t * spec.numExperts), t, r.ints(t, 0, 6), table, new Int32Array(n), new Float32Array(n)];
    return { self: m.createRouter(spec), args, writes: ['4', '5'] };
  },
  scoreExperts(r) {
    const { t, numExperts } = sizes(r);
    const logits = r.floats(t * numExperts);
    return {
      args: [r.pick(SCORINGS), logits, t, numExperts, r.pick([logits, r.floats(t * numExperts + 1)])],
      writes: ['4'],
    };
  },
  assignSlots: (r) => ({ args: orderOf(r), writes: ['4', '5', '6'] }),
  checkSlotOrder(r, m) {
    const args = orderOf(r);
    m.assignSlots(...args);
    return { args };
  },
  isIdentitySlots: (r) => ({ args: [Int32Array.from({ length: r.int(0, 4) }, (_, i) => i), 0] }),
  countExperts(r) {
    const { t, topk, numExperts } = sizes(r);
    return {
      args: [r.ints(t * topk, -1, numExperts - 1), t, topk, numExperts, r.ints(numExperts + 1, 0, 9)],
      writes: ['4'],
    };
  },
  offsetsFromCounts(r) {
    const n = r.int(1, 6);
    const counts = r.ints(n, 0, 5);
    return { args: [counts, n, r.pick([counts, r.ints(n + 1, 0, 3)])], writes: ['2'] };
  },
  expertOfRow(r) {
    const ends = r.ends(r.int(1, 5), 4);
    ends[ends.length - 1] += 1;
    return { args: [ends, r.below(ends.at(-1))] };
  },
  remapLocal(r) {
    const { t, topk, numExperts } = sizes(r);
    const n = t * topk;
    const [ids, weights] = [r.ints(n, -1, numExperts - 1), r.floats(n)];
    const outs = [r.pick([ids, r.ints(n, 0, 9)]), r.pick([weights, r.floats(n)])];
    return {
      args: [ids, weights, t, topk, r.int(0, 3), r.int(1, 4), ...outs, r.pick(['clamp', 'mask'])],
      writes: ['6', '7'],
    };
  },
};
