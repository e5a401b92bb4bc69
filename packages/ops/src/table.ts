import {
  choice,
  count,
  f32,
  flag,
  handle,
  index,
  limit,
  offsets,
  optional,
  real,
  tensor,
  updates,
  writes,
} from './kinds';
import type { Kind } from './kinds';

/** One operation: what it does, and its arguments by name. */
export interface OpRow {
  /** One sentence; shapes are those of `args`. */
  readonly does: string;
  /** Which kernels it belongs to. */
  readonly family: 'rows' | 'experts' | 'attention';
  readonly args: Readonly<Record<string, Kind>>;
  /** What only a pass over the data can find. Host backends throw it at once; a device reports it when the step is read back. */
  readonly dataErrors?: string;
}

/** How the inputs of a matrix product go in: as they are, rounded to BF16, or quantized to NVFP4. */
const INPUTS = choice('f32', 'bf16', 'nvfp4');

/**
 * Every operation of a step: its arguments, their kinds, shapes and what is written. Types, checks, the signatures of the addons, the fuzz
 * tests and the judge's completeness follow from it. It holds no numerics: what an operation computes stands at its JavaScript twin.
 *
 * `rows` are rows of the step, `slots` are (token, expert) pairs in slot order. Buffers may be larger than their shape. A result of a row
 * depends on that row alone, bit for bit.
 */
export const OPS = {
  embed: {
    does: 'Rows of an embedding table, each written `repeat` times.',
    family: 'rows',
    args: {
      table: handle('linear'),
      ids: index('rows', 'table.n'),
      rows: count(),
      repeat: count(1),
      out: writes('f32', 'rows*repeat*table.k'),
    },
  },
  rmsNorm: {
    does: '`x / sqrt(mean(x^2) + eps) * weight`, the mean in float64; `out` may be `x`.',
    family: 'rows',
    args: {
      x: f32('rows*d'),
      rows: count(),
      d: count(1),
      weight: optional(f32('d')),
      eps: real(0),
      out: writes('f32', 'rows*d', 'x'),
    },
  },
  linear: {
    does: '`out[r, g*N + n] = sum_k x[r, g*K + k] * w[g*N + n, k]`, with inputs as `inputs` says.',
    family: 'rows',
    args: {
      w: handle('linear'),
      x: f32('rows*w.groups*w.k'),
      rows: count(),
      inputs: INPUTS,
      out: writes('f32', 'rows*w.groups*w.n'),
    },
    dataErrors: 'inputs "nvfp4": NaN or infinity in x',
  },
  swiglu: {
    does: '`silu(min(gate, limit)) * clamp(up, -limit, limit)`, gate first.',
    family: 'rows',
    args: { gateUp: f32('rows*2*i'), rows: count(), i: count(1), limit: limit(), out: writes('f32', 'rows*i') },
  },
  add: {
    does: '`out += x`.',
    family: 'rows',
    args: { out: updates('f32', 'n'), x: f32('n'), n: count() },
  },
  gatherRows: {
    does: '`out[r] = x[index[r]]`.',
    family: 'rows',
    args: {
      x: f32(''),
      d: count(1),
      index: index('rows', 'x.length/d'),
      rows: count(),
      out: writes('f32', 'rows*d'),
    },
  },
  hcPre: {
    does: 'Hyper-connection before a block: mixing coefficients `post` and `comb` of each row, and its streams collapsed into one.',
    family: 'rows',
    args: {
      streams: f32('rows*hc*d'),
      rows: count(),
      hc: count(1, { max: '16' }),
      d: count(1),
      fn: f32('(2+hc)*hc*hc*d'),
      base: f32('(2+hc)*hc'),
      gain: f32('3'),
      rmsNormEps: real(0),
      hcEps: real(0),
      iters: count(1, { max: '10000' }),
      post: writes('f32', 'rows*hc'),
      comb: writes('f32', 'rows*hc*hc'),
      collapsed: writes('f32', 'rows*d'),
    },
  },
  hcPost: {
    does: 'Hyper-connection after a block, in place: `streams[k] = post[k]*blockOut + sum_j comb[j, k]*streams[j]`.',
    family: 'rows',
    args: {
      streams: updates('f32', 'rows*hc*d'),
      blockOut: f32('rows*d'),
      rows: count(),
      hc: count(1, { max: '16' }),
      d: count(1),
      post: f32('rows*hc'),
      comb: f32('rows*hc*hc'),
    },
  },
  hcHead: {
    does: 'Hyper-connection before the head: the streams of each row collapsed into one.',
    family: 'rows',
    args: {
      streams: f32('rows*hc*d'),
      rows: count(),
      hc: count(1, { max: '16' }),
      d: count(1),
      fn: f32('hc*hc*d'),
      base: f32('hc'),
      gain: f32('1'),
      rmsNormEps: real(0),
      hcEps: real(0),
      out: writes('f32', 'rows*d'),
    },
  },
  route: {
    does: 'Experts of each token and their weights: the best by score + bias, or those that `tid2eid` names for the token id.',
    family: 'experts',
    args: {
      router: handle('router'),
      logits: f32('rows*router.numExperts'),
      rows: count(),
      bias: optional(f32('router.numExperts')),
      tokenIds: optional(tensor('i32', 'rows')),
      tid2eid: optional(tensor('i32', 'router.topk')),
      topkIds: writes('i32', 'rows*router.topk'),
      topkWeights: writes('f32', 'rows*router.topk'),
    },
    dataErrors: 'NaN or infinity in logits, NaN in bias, a token id outside the table, an expert id outside [0, E)',
  },
  assignSlots: {
    does: 'One slot order for both GEMMs and the scatter: rows sorted by (expert, token), stable.',
    family: 'experts',
    args: {
      topkIds: index('rows*topk', 'numExperts', '-1'),
      rows: count(),
      topk: count(1),
      numExperts: count(1),
      expertOffsets: writes('i32', 'numExperts'),
      slotToken: writes('i32', 'rows*topk'),
      tokenSlots: writes('i32', 'rows*topk'),
    },
  },
  stage: {
    does:
      'Gathers rows into slot order (`slotToken` null: they are) and makes them what `inputs` says: float32, BF16 or NVFP4, with the global ' +
      'scale of the expert or, where `globalDecodeScale` is null, of each row.',
    family: 'experts',
    args: {
      x: f32(''),
      k: count(1),
      slotToken: optional(index('slots', 'x.length/k', '-1')),
      slots: count(),
      expertOffsets: offsets(''),
      inputs: INPUTS,
      globalDecodeScale: optional(f32('expertOffsets.length')),
      staged: handle('staged', 'writes'),
    },
    dataErrors:
      'inputs "nvfp4": NaN or infinity in a row, a global scale below 2^-117 or infinite for an expert that has rows',
  },
  swigluStage: {
    does: '`swiglu` of rows in slot order and then `stage` of the result, with the same bits; the floats between them stay in cache.',
    family: 'experts',
    args: {
      gateUp: f32('slots*2*i'),
      slots: count(),
      i: count(1),
      limit: limit(),
      expertOffsets: offsets(''),
      inputs: INPUTS,
      globalDecodeScale: optional(f32('expertOffsets.length')),
      staged: handle('staged', 'writes'),
    },
    dataErrors: 'inputs "nvfp4": a result that is NaN or infinite; scales as in stage',
  },
  groupedGemm: {
    does: '`out[r] = alpha[e] * (a[r] . w[e])` for the staged rows r of each expert e, with inputs as they were staged.',
    family: 'experts',
    args: {
      w: handle('experts'),
      staged: handle('staged'),
      slots: count(),
      expertOffsets: offsets('w.numExperts'),
      alpha: optional(f32('w.numExperts*w.parts')),
      out: writes('f32', 'slots*w.n'),
    },
    dataErrors: 'an alpha that is not finite for an expert that has rows',
  },
  scatterExperts: {
    does: '`out[t] = sum_j topkWeights[t, j] * y[tokenSlots[t, j]]`, j ascending; slot -1 contributes nothing.',
    family: 'experts',
    args: {
      y: f32(''),
      d: count(1),
      tokenSlots: index('rows*topk', 'y.length/d', '-1'),
      topkWeights: f32('rows*topk'),
      rows: count(),
      topk: count(1),
      out: writes('f32', 'rows*d'),
    },
  },
  ropeTables: {
    does: 'cos and sin of `f32(position * frequency)` of each row.',
    family: 'attention',
    args: {
      rope: handle('rope'),
      positions: index('rows', '2147483647'),
      rows: count(),
      cos: writes('f32', 'rows*rope.ropeDim/2'),
      sin: writes('f32', 'rows*rope.ropeDim/2'),
    },
  },
  rope: {
    does: 'Rotates interleaved pairs of the last `ropeDim` of each head, in place; `inverse` turns back.',
    family: 'attention',
    args: {
      x: updates('f32', 'rows*heads*d'),
      rows: count(),
      heads: count(1),
      d: count(1),
      ropeDim: count(0, { multipleOf: 2, max: 'd' }),
      cos: f32('rows*ropeDim/2'),
      sin: f32('rows*ropeDim/2'),
      inverse: flag(),
    },
  },
  writeWindow: {
    does: 'Keeps the key rows of the step in the window of a layer.',
    family: 'attention',
    args: {
      cache: handle('cache', 'updates'),
      step: handle('step'),
      layer: count(0, { max: 'cache.layers-1' }),
      d: count(1),
      kv: f32('step.rows*d'),
    },
  },
  compress: {
    does: "Keeps the projections of the step's rows, and closes every window that becomes full into an entry of the layer, or of its indexer.",
    family: 'attention',
    args: {
      cache: handle('cache', 'updates'),
      step: handle('step'),
      layer: count(0, { max: 'cache.layers-1' }),
      indexer: flag(),
      width: count(1),
      kv: f32('step.rows*width'),
      gate: f32('step.rows*width'),
      weights: handle('compressor'),
      eps: real(0),
    },
  },
  indexSelect: {
    does: 'The `topk` visible entries with the highest indexer score of each row, ascending, padded with -1; ties to the lowest.',
    family: 'attention',
    args: {
      cache: handle('cache'),
      step: handle('step'),
      layer: count(0, { max: 'cache.layers-1' }),
      q: f32('step.rows*heads*dim'),
      headWeights: f32('step.rows*heads'),
      heads: count(1),
      dim: count(1),
      topk: count(),
      selected: writes('i32', 'step.rows*topk'),
    },
  },
  attend: {
    does: 'Attention of each row over its window and its compressed entries (`selected` null: every visible one), K = V, sinks in the denominator.',
    family: 'attention',
    args: {
      cache: handle('cache'),
      step: handle('step'),
      layer: count(0, { max: 'cache.layers-1' }),
      q: f32('step.rows*heads*d'),
      heads: count(1),
      d: count(1),
      selected: optional(tensor('i32', 'step.rows*topk')),
      topk: count(),
      sinks: f32('heads'),
      softmaxScale: real(),
      out: writes('f32', 'step.rows*heads*d'),
    },
    dataErrors: 'NaN in sinks; a selected entry that is not visible or does not ascend',
  },
} as const satisfies Readonly<Record<string, OpRow>>;

/** Name of an operation. */
export type OpName = keyof typeof OPS;

/** Names in the order of the list. */
export const OP_NAMES = Object.keys(OPS) as readonly OpName[];
