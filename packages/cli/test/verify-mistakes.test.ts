import { SafetensorsFile } from '@megamoe/checkpoint';
import { createBackend, type Ops, type Tensor } from '@megamoe/model';
import { describe, expect, it } from 'vitest';
import { verifyModel, withCheckpoint, type VerifyResult } from '../src/verify/run';
import { cli, MICRO, temporaryFolder, TINY } from './support';

const dir = temporaryFolder();

/** A backend with one mistake. `inner` is the right one; the mistake is made in the layer that `mistaken` says. */
type Mistake = (inner: Ops, mistaken: () => boolean) => Partial<Ops>;

interface Planted {
  readonly name: string;
  /** Layer in which the mistake is made; null: before or after the layers. */
  readonly layer: number | null;
  /** What verify has to name. */
  readonly op: string;
  readonly mistake: Mistake;
}

const f32 = (x: Tensor): Float32Array => x.storage as Float32Array;
const i32 = (x: Tensor): Int32Array => x.storage as Int32Array;
const u8 = (x: Tensor): Uint8Array => x.storage as Uint8Array;
const tensor = (ops: Ops, data: Float32Array | Int32Array): Tensor => ops.tensor(data);
const swapNibbles = (x: Uint8Array): void => x.forEach((byte, i) => (x[i] = (byte >> 4) | ((byte & 15) << 4)));

/** The right backend but for `mistake`. Layers are told apart by the norm before attention, which each layer runs once a step. */
function broken({ layer, mistake }: Planted, cached: boolean): Ops {
  const inner = createBackend({ backend: 'js' });
  let now = -1;
  let step = 0;
  const wrong = mistake(inner, () => (layer === null || now === layer) && (!cached || step > 1));
  return {
    ...inner,
    ...wrong,
    hcPre(...args) {
      blocks++;
      now = Math.floor(blocks / 2);
      (wrong.hcPre ?? inner.hcPre)(...args);
    },
    embed(...args) {
      blocks = -1;
      step++;
      (wrong.embed ?? inner.embed)(...args);
    },
  };
}
let blocks = -1;

async function verify(
  model: string,
  planted: Planted,
  o: { tokens: number; decode?: number; dumpDir?: string; keepGoing?: boolean; cached?: boolean },
): Promise<VerifyResult> {
  return withCheckpoint(model, (source) =>
    verifyModel({
      source,
      ops: broken(planted, o.cached ?? false),
      activations: 'nvfp4',
      inputScales: 'static',
      tokenIds: Array.from({ length: o.tokens }, (_, i) => (7 + i * 37 + ((i * i) % 13)) % source.config.vocabSize),
      decode: o.decode ?? 0,
      maxChunk: 64,
      keepGoing: o.keepGoing ?? false,
      dumpDir: o.dumpDir,
    }),
  );
}

function expectNamed(r: VerifyResult, { layer, op }: Planted): void {
  expect(r.findings.map((f) => ({ layer: f.layer, op: f.op }))).toEqual([{ layer, op }]);
  expect(r.passed).toBe(false);
  expect(r.ops.filter((o) => !o.passed).map((o) => o.op)).toEqual([op]);
}

/** Runs `op` on the right backend, then spoils its output. */
const after =
  <K extends keyof Ops>(
    name: K,
    spoil: (args: Parameters<Extract<Ops[K], (...a: never[]) => unknown>>, inner: Ops) => void,
  ): Mistake =>
  (inner, mistaken) =>
    ({
      [name]: (...args: unknown[]) => {
        (inner[name] as (...a: unknown[]) => void)(...args);
        if (mistaken()) spoil(args as never, inner);
      },
    }) as Partial<Ops>;

/** Calls the right operation with other arguments. */
const with_ =
  <K extends keyof Ops>(
    name: K,
    change: (args: Parameters<Extract<Ops[K], (...a: never[]) => unknown>>, inner: Ops) => unknown[],
  ): Mistake =>
  (inner, mistaken) =>
    ({
      [name]: (...args: unknown[]) =>
        (inner[name] as (...a: unknown[]) => void)(...(mistaken() ? change(args as never, inner) : args)),
    }) as Partial<Ops>;

const FLOAT: readonly Planted[] = [
  {
    name: 'the embedding is off by one row',
    ...{ layer: null, op: 'embed' },
    mistake: with_('embed', ([table, ids, t, repeat, out], inner) => [
      ...[
        table,
        tensor(
          inner,
          i32(ids).map((id) => (id + 1) % 160),
        ),
        t,
        repeat,
        out,
      ],
    ]),
  },
  {
    name: 'a norm has eps 1e-5 instead of 1e-6',
    ...{ layer: 2, op: 'attn.q_norm' }, // before attn_norm the mean square is so large that float32 hides it
    mistake: with_('rmsNorm', ([x, m, d, w, , out]) => [x, m, d, w, 1e-5, out]),
  },
  {
    name: 'rotary pairs are i and i + d/2',
    ...{ layer: 1, op: 'attn.q_rope' },
    mistake: (inner, mistaken) => ({
      rope(x, m, heads, d, ropeDim, cos, sin, inverse) {
        if (!mistaken()) return inner.rope(x, m, heads, d, ropeDim, cos, sin, inverse);
        const half = ropeDim / 2;
        for (let r = 0; r < m * heads; r++) {
          for (let i = 0; i < half; i++) {
            const [a, b] = [(r + 1) * d - ropeDim + i, (r + 1) * d - half + i];
            const t = Math.floor(r / heads) * half + i;
            const [c, s] = [f32(cos)[t]!, inverse ? -f32(sin)[t]! : f32(sin)[t]!];
            const [u, v] = [f32(x)[a]!, f32(x)[b]!];
            f32(x)[a] = u * c - v * s;
            f32(x)[b] = v * c + u * s;
          }
        }
      },
    }),
  },
  {
    name: 'the output is rotated forward, not back',
    ...{ layer: 3, op: 'attn.out_rope' },
    mistake: with_('rope', ([x, m, h, d, n, cos, sin]) => [x, m, h, d, n, cos, sin, false]),
  },
  {
    name: 'the sink is missing',
    ...{ layer: 0, op: 'attn.attend' },
    mistake: with_('attend', ([s, l, spec, q, h, sel, k, , scale, out], inner) => [
      ...[s, l, spec, q, h, sel, k, tensor(inner, new Float32Array(h).fill(-Infinity)), scale, out],
    ]),
  },
  {
    name: 'the window is one token short',
    ...{ layer: 4, op: 'attn.visible' },
    mistake: with_('attend', ([s, l, spec, ...rest]) => [s, l, { ...spec, window: spec.window - 1 }, ...rest]),
  },
  {
    name: 'the newest compressed entry is missing',
    ...{ layer: 2, op: 'attn.visible' },
    mistake: with_('attend', ([s, l, spec, q, h, sel, topk, ...rest], inner) => {
      const cut = i32(sel!).slice();
      for (let r = 0; r < s.n; r++) {
        const row = cut.subarray(r * topk, (r + 1) * topk);
        const count = row.filter((e) => e >= 0).length;
        if (count > 0) row[count - 1] = -1;
      }
      return [s, l, spec, q, h, tensor(inner, cut), topk, ...rest];
    }),
  },
  {
    name: 'a compressor has no position bias',
    ...{ layer: 2, op: 'attn.compressor.pool' },
    mistake: (inner, mistaken) => ({
      compress(s, layer, indexer, kv, gate, w, eps, rope) {
        const { ape, norm } = w as unknown as { ape: Float32Array; norm: Float32Array };
        const other = mistaken()
          ? inner.packCompressor(
              ape.map(() => 0),
              norm,
            )
          : w;
        inner.compress(s, layer, indexer, kv, gate, other, eps, rope);
      },
    }),
  },
  {
    name: 'the indexer takes the last entries',
    ...{ layer: 4, op: 'attn.indexer.select' },
    mistake: after('indexSelect', ([s, , , , , topk, selected]) => {
      for (let r = 0; r < s.n; r++) {
        const visible = Math.floor((s.p0 + r + 1) / 4);
        if (visible <= topk) continue;
        for (let j = 0; j < topk; j++) i32(selected)[r * topk + j] = visible - topk + j;
      }
    }),
  },
  {
    name: 'residual mixing is transposed',
    ...{ layer: 1, op: 'hc_attn.post' },
    mistake: with_('hcPost', ([x, out, t, s, post, comb], inner) => {
      const turned = new Float32Array(t * s.hc * s.hc);
      for (let i = 0; i < t; i++)
        for (let j = 0; j < s.hc; j++)
          for (let k = 0; k < s.hc; k++) turned[(i * s.hc + k) * s.hc + j] = f32(comb)[(i * s.hc + j) * s.hc + k]!;
      return [x, out, t, s, post, tensor(inner, turned)];
    }),
  },
  {
    name: 'experts are chosen without the bias',
    ...{ layer: 3, op: 'ffn.route' },
    mistake: with_('route', ([r, logits, t, , ids, weights]) => [r, logits, t, null, ids, weights]),
  },
  {
    name: 'routing weights are not scaled',
    ...{ layer: 0, op: 'ffn.route' },
    mistake: after('routeHash', ([, , t, , , , weights]) => {
      for (let i = 0; i < t * 2; i++) f32(weights)[i]! /= 1.5;
    }),
  },
  {
    name: 'slots are tokens',
    ...{ layer: 5, op: 'ffn.slots' },
    mistake: after('assignSlots', ([, , t, , slotToken]) => {
      for (let i = 0; i < t * 2; i++) i32(slotToken)[i] = i % t;
    }),
  },
  {
    name: 'gate and up are swapped',
    ...{ layer: 2, op: 'ffn.swiglu' },
    mistake: with_('swiglu', ([gateUp, m, i, limit, out], inner) => {
      const swapped = new Float32Array(m * 2 * i);
      for (let r = 0; r < m; r++) {
        swapped.set(f32(gateUp).subarray(r * 2 * i + i, (r + 1) * 2 * i), r * 2 * i);
        swapped.set(f32(gateUp).subarray(r * 2 * i, r * 2 * i + i), r * 2 * i + i);
      }
      return [tensor(inner, swapped), m, i, limit, out];
    }),
  },
  {
    name: 'expert outputs are added without their weights',
    ...{ layer: 4, op: 'ffn.scatter' },
    mistake: with_('scatterExperts', ([y, d, slots, weights, ...rest], inner) => [
      ...[
        y,
        d,
        slots,
        tensor(
          inner,
          f32(weights).map(() => 1),
        ),
        ...rest,
      ],
    ]),
  },
  {
    name: 'a linear leaves one element unwritten',
    ...{ layer: 1, op: 'attn.wq_a' },
    mistake: (inner, mistaken) => ({
      linear(w, x, m, out) {
        const before = f32(out)[5]!;
        inner.linear(w, x, m, out);
        if (mistaken()) f32(out)[5] = before;
      },
    }),
  },
  {
    name: 'an addition writes into its input',
    ...{ layer: 3, op: 'ffn.add_shared' },
    mistake: after('addInPlace', ([, x]) => (f32(x)[3]! += 1)),
  },
  {
    name: 'the backend throws',
    ...{ layer: 2, op: 'attn.window' },
    mistake: (inner, mistaken) => ({
      writeWindow(...args) {
        if (mistaken()) throw new Error('device lost');
        inner.writeWindow(...args);
      },
    }),
  },
  {
    name: 'the head takes row 0 for all',
    ...{ layer: null, op: 'head.rows' },
    mistake: with_('takeRows', ([x, d, rows, ...rest], inner) => [
      x,
      d,
      tensor(
        inner,
        i32(rows).map(() => 0),
      ),
      ...rest,
    ]),
  },
];

describe('a mistake in a backend with float experts', () => {
  it.each(FLOAT)('$name: $op of layer $layer', async (planted) => {
    expectNamed(await verify(MICRO, planted, { tokens: 60 }), planted);
  });
});

const QUANTIZED: readonly Planted[] = [
  {
    name: 'the two codes of a byte are swapped',
    ...{ layer: 0, op: 'ffn.w13.stage' },
    mistake: after('stageNvfp4', ([, , , , , codes]) => swapNibbles(u8(codes))),
  },
  {
    name: 'inputs are staged with the scale of expert 0',
    ...{ layer: 1, op: 'ffn.w13.stage' },
    mistake: with_('stageNvfp4', ([x, k, slots, offsets, g, codes, sf], inner) => [
      ...[
        x,
        k,
        slots,
        offsets,
        tensor(
          inner,
          f32(g).map(() => f32(g)[0]! * 1.5),
        ),
        codes,
        sf,
      ],
    ]),
  },
  {
    name: 'alpha of expert 0 is used for all',
    ...{ layer: 0, op: 'ffn.w13.gemm' },
    mistake: with_('groupedGemmW4A4', ([w, c, sf, offsets, alpha, rows, out], inner) => [
      ...[
        w,
        c,
        sf,
        offsets,
        tensor(
          inner,
          f32(alpha).map((_, i) => f32(alpha)[i % 2]!),
        ),
        rows,
        out,
      ],
    ]),
  },
  {
    name: 'offsets begin with a zero',
    ...{ layer: 1, op: 'ffn.w13.gemm' },
    mistake: after('groupedGemmW4A4', ([w, c, sf, offsets, alpha, rows, out], inner) => {
      const shifted = i32(offsets).map((_, e) => (e === 0 ? 0 : i32(offsets)[e - 1]!));
      inner.groupedGemmW4A4(w, c, sf, tensor(inner, shifted), alpha, rows, out);
    }),
  },
  {
    name: 'one product is off by one unit in the last place',
    ...{ layer: 0, op: 'ffn.w13.gemm' },
    mistake: after('groupedGemmW4A4', ([, , , , , , out]) => {
      const bits = new Int32Array(f32(out).buffer, f32(out).byteOffset);
      bits[1234]!++;
    }),
  },
  {
    name: 'SwiGLU does not clamp',
    ...{ layer: 0, op: 'ffn.swiglu' },
    mistake: with_('swiglu', ([x, m, i, , out]) => [x, m, i, Infinity, out]),
  },
];

/** What a dump holds: its operation and the names of its tensors. */
function readDump(file: string): { op: string; tensors: string[] } {
  const dump = new SafetensorsFile(file);
  const found = { op: dump.metadata.get('op')!, tensors: [...dump.tensors.keys()].sort() };
  dump.close();
  return found;
}

describe('a mistake in a backend with NVFP4 experts', () => {
  it.each(QUANTIZED)('$name: $op of layer $layer', async (planted) => {
    expectNamed(await verify(TINY, planted, { tokens: 8 }), planted);
  });
});

describe('where a single operation is not to blame', () => {
  it('a weight that was spoilt at the load is found by the layer as a whole', async () => {
    let norms = 0;
    const planted: Planted = {
      ...{ name: '', layer: 0, op: 'layer' },
      mistake: (inner) => ({
        // The second vector of 64 is the norm before the experts of layer 0.
        tensor: (data) =>
          inner.tensor(data.length === 64 && norms++ === 1 ? (data as Float32Array).map((v) => v * 1.01) : data),
      }),
    };
    const r = await verify(MICRO, planted, { tokens: 20 });
    expectNamed(r, planted);
    expect(r.findings[0]!.error).toBeGreaterThan(1e-6); // the bound is 1e-8
  });

  it('a mistake in decode only is found there', async () => {
    const planted = FLOAT.find((p) => p.name === 'the window is one token short')!;
    const r = await verify(MICRO, planted, { tokens: 30, decode: 2, cached: true });
    expectNamed(r, planted);
    expect(r.findings[0]!.step).toEqual({ kind: 'decode', position: 30, tokens: 1 });
  });

  it('with keepGoing everything is found, each where it is', async () => {
    const [sink, scatter] = ['the sink is missing', 'expert outputs are added without their weights'].map((name) =>
      FLOAT.find((p) => p.name === name)!,
    );
    const both: Planted = {
      ...{ name: '', layer: 2, op: '' },
      mistake: (inner, mistaken) => ({ ...sink!.mistake(inner, mistaken), ...scatter!.mistake(inner, mistaken) }),
    };
    const r = await verify(MICRO, both, { tokens: 24, decode: 1, keepGoing: true });
    // Each once, the layer as a whole after them; the calls of decode are in the summary.
    expect(r.findings.map((f) => `${f.layer} ${f.op} ${f.step.kind}`)).toEqual([
      '2 attn.attend prefill',
      '2 ffn.scatter prefill',
      '2 layer prefill',
    ]);
    expect(r.ops.find((o) => o.layer === 2 && o.op === 'ffn.scatter')).toMatchObject({ passed: false, calls: 2 });
    expect(r.ops.find((o) => o.layer === 3 && o.op === 'ffn.scatter')).toMatchObject({ passed: true, calls: 2 });
  });
});

describe('the known mistake behind a failure', () => {
  const MICRO_CASES: Record<string, [op: string, tensors: string, mistakes: string[]]> = {
    'the sink is missing': ['attention', 'in.kv in.q in.sinks out', ['attention-sink-missing']],
    'the window is one token short': [
      'attention',
      'in.kv in.kv_comp in.q in.selected in.sinks out',
      ['attention-window-short'],
    ],
    'the newest compressed entry is missing': ['attention', 'in.kv in.kv_comp in.q in.selected in.sinks out', []],
    'rotary pairs are i and i + d/2': ['rope', 'in.positions in.x out', ['rope-half-split']],
    'residual mixing is transposed': [
      ...(['residual_mix', 'in.comb in.out in.post in.streams out.streams'] as const),
      ['residual-comb-transposed'],
    ],
    'experts are chosen without the bias': [
      ...(['route', 'in.bias in.logits out.topk_ids out.topk_weights'] as const),
      ['topk-without-bias'],
    ],
  };
  const TINY_CASES: typeof MICRO_CASES = {
    'the two codes of a byte are swapped': [
      ...(['quantize_nvfp4', 'in.global_decode_scale in.x out.codes out.sf'] as const),
      ['nibbles-swapped'],
    ],
    'alpha of expert 0 is used for all': [
      'grouped_gemm_nvfp4',
      'in.a_codes in.a_global_decode in.a_sf in.b_codes in.b_global_decode in.b_sf in.expert_offsets out',
      [],
    ],
  };
  const cases = [
    ...Object.entries(MICRO_CASES).map(([name, want]) => ({ model: MICRO, tokens: 40, name, want })),
    ...Object.entries(TINY_CASES).map(([name, want]) => ({ model: TINY, tokens: 8, name, want })),
  ];
  it.each(cases)('$name', async ({ model, tokens, name, want: [op, tensors, mistakes] }) => {
    const planted = [...FLOAT, ...QUANTIZED].find((p) => p.name === name)!;
    const [first] = (await verify(model, planted, { tokens, dumpDir: dir })).findings;
    expect(readDump(first!.dump!)).toEqual({ op, tensors: tensors.split(' ') });
    expect(first!.mistakes).toEqual(expect.arrayContaining(mistakes));
    // With a dump the same answer comes from the command.
    const { out } = await cli('explain', first!.dump!, '--json');
    expect((JSON.parse(out) as { mistakes: { id: string }[] }).mistakes.map((m) => m.id)).toEqual(first!.mistakes);
  });
});
