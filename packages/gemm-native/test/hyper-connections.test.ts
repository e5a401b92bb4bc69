import { hcHead, hcPost, hcPre } from '@megamoe/reference';
import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { BACKENDS, floats, golden, odd, poisoned } from './backends';

interface HyperGolden {
  model: string;
  t: number;
  hc: number;
  d: number;
  iters: number;
  hcEps: number;
  rmsNormEps: number;
  pre: Record<'streams' | 'fn' | 'base' | 'scale' | 'post' | 'comb' | 'collapsed', string>;
  head: Record<'streams' | 'fn' | 'base' | 'scale' | 'norm' | 'finalNorm', string>;
}

const GOLDENS = golden<HyperGolden[]>('hyper-connections.json');
const JS = BACKENDS[0]!.kernels;

/** t, hc, d, iters, hcEps; a large eps shows how many normalisations there were, and which came first. */
const SHAPES: [number, number, number, number, number][] = [
  [1, 1, 1, 1, 1e-6],
  [3, 2, 5, 3, 0.1],
  [2, 4, 33, 20, 1e-6],
  [2, 4, 33, 2, 0.05],
  [5, 3, 130, 1, 0.2],
  [9, 16, 20, 7, 1e-3],
];

describe.each(BACKENDS)('hyper-connections on $name', ({ kernels }) => {
  it.each(GOLDENS)('match Hugging Face on $model', (g) => {
    const { t, hc, d } = g;
    const post = poisoned(t * hc);
    const comb = poisoned(t * hc * hc);
    const collapsed = poisoned(t * d);
    const p = g.pre;
    const eps = [g.rmsNormEps, g.hcEps] as const;
    kernels.hcPre({
      streams: floats(p.streams),
      rows: t,
      hc,
      d,
      fn: floats(p.fn),
      base: floats(p.base),
      gain: floats(p.scale),
      rmsNormEps: eps[0],
      hcEps: eps[1],
      iters: g.iters,
      post,
      comb,
      collapsed,
    });
    expectClose(post, floats(p.post), { maxAbs: 2e-6, shape: [t, hc] });
    expectClose(comb, floats(p.comb), { maxAbs: 2e-6, shape: [t, hc, hc] });
    expectClose(collapsed, floats(p.collapsed), { nmse: 1e-12, shape: [t, d] });
    const h = g.head;
    const out = poisoned(t * d);
    kernels.hcHead({
      streams: floats(h.streams),
      rows: t,
      hc,
      d,
      fn: floats(h.fn),
      base: floats(h.base),
      gain: floats(h.scale),
      rmsNormEps: eps[0],
      hcEps: eps[1],
      out,
    });
    kernels.rmsNorm({ x: out, rows: t, d, weight: floats(h.norm), eps: g.rmsNormEps, out });
    expectClose(out, floats(h.finalNorm), { nmse: 1e-12, shape: [t, d] });
  });

  it.each(SHAPES)('match the reference: t=%i hc=%i d=%i iters=%i hcEps=%d', (t, hc, d, iters, hcEps) => {
    const r = seeded(t * hc + d);
    const streams = r.floats(t * hc * d);
    const mixes = (2 + hc) * hc;
    const w = { fn: r.floats(mixes * hc * d, 0.3), base: r.floats(mixes), scale: r.floats(3) };
    const shape = { t, hc, d, rmsNormEps: 1e-6, hcEps };
    const want = hcPre(streams, w, { ...shape, iters });
    const post = poisoned(t * hc);
    const comb = poisoned(t * hc * hc);
    const collapsed = poisoned(t * d);
    kernels.hcPre({
      streams: odd(streams, NaN),
      rows: t,
      hc,
      d,
      fn: w.fn,
      base: w.base,
      gain: w.scale,
      rmsNormEps: 1e-6,
      hcEps,
      iters,
      post,
      comb,
      collapsed,
    });
    expectClose(post, want.post, { maxAbs: 3e-6, shape: [t, hc] });
    expectClose(comb, want.comb, { maxAbs: 3e-6, shape: [t, hc, hc] });
    expectClose(collapsed, want.collapsed, { nmse: 1e-11, shape: [t, d] });

    const blockOut = r.floats(t * d);
    const mixed = odd(streams, 7);
    kernels.hcPost({ streams: mixed, blockOut: odd(blockOut, NaN), rows: t, hc, d, post, comb });
    expectClose(mixed, hcPost(streams, blockOut, { post, comb }, { t, hc, d }), { nmse: 1e-12, shape: [t, hc, d] });
    const js = streams.slice();
    JS.hcPost({ streams: js, blockOut, rows: t, hc, d, post, comb });
    expectBytes(mixed, js, [t, hc, d]); // the same float64 operations in the same order

    const head = { fn: w.fn.slice(0, hc * hc * d), base: w.base.slice(0, hc), scale: w.scale.slice(0, 1) };
    const out = poisoned(t * d);
    kernels.hcHead({
      streams,
      rows: t,
      hc,
      d,
      fn: head.fn,
      base: head.base,
      gain: head.scale,
      rmsNormEps: 1e-6,
      hcEps,
      out,
    });
    expectClose(out, hcHead(streams, head, shape), { nmse: 1e-11, shape: [t, d] });
  });

  it('give each token the bits that it has alone', () => {
    const [t, hc, d] = [7, 4, 24];
    const r = seeded(77);
    const streams = r.floats(t * hc * d);
    const w = [r.floats(24 * hc * d, 0.2), r.floats(24), r.floats(3)] as const;
    const run = (n: number, s: Float32Array): Float32Array => {
      const all = poisoned(n * (hc + hc * hc + d));
      const [a, b] = [n * hc, n * (hc + hc * hc)];
      kernels.hcPre({
        streams: s,
        rows: n,
        hc,
        d,
        fn: w[0],
        base: w[1],
        gain: w[2],
        rmsNormEps: 1e-6,
        hcEps: 1e-6,
        iters: 20,
        post: all.subarray(0, a),
        comb: all.subarray(a, b),
        collapsed: all.subarray(b),
      });
      return all;
    };
    const together = run(t, streams);
    for (let i = 0; i < t; i++) {
      const alone = run(1, streams.slice(i * hc * d, (i + 1) * hc * d));
      expectBytes(alone.subarray(0, hc), together.subarray(i * hc, (i + 1) * hc));
      expectBytes(alone.subarray(hc, hc + 16), together.subarray(t * hc + i * 16, t * hc + i * 16 + 16));
      expectBytes(alone.subarray(hc + 16), together.subarray(t * (hc + 16) + i * d, t * (hc + 16) + (i + 1) * d));
    }
  });

  it('comb is nearly doubly stochastic and consumed transposed', () => {
    const streams = Float32Array.of(1, 10);
    kernels.hcPost({
      streams,
      blockOut: Float32Array.of(100),
      rows: 1,
      hc: 2,
      d: 1,
      post: Float32Array.of(1, 2),
      comb: Float32Array.of(1, 0, 3, 0),
    });
    expect([...streams]).toEqual([100 + 1 + 30, 200]); // new[0] = post 1 * 100 + comb[0][0] * 1 + comb[1][0] * 10
  });
});
