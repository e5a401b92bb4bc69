/**
 * Mistakes, at least one in every operation of the list. Many are planted in one backend, each in a layer of its own: an operation is judged
 * on the inputs that the backend's had, so that none hides or feigns another.
 */
import type { Backend, OpArgs, Tensors } from '@megamoe/ops';
import { after, attendWrongly, f32, given, i32, inLayer, instead, type Now, type Plant } from './planting';
import { MICRO_CONFIG as CONFIG } from './support';

const { numExperts, numExpertsPerTok: topk } = CONFIG;

/** The n-th call of an operation in a layer and step. */
const nthIn = (layer: number, n: number) => {
  const seen = new WeakMap<Now, { step: number; calls: number }>();
  return (_: unknown, now: Now): boolean => {
    const s = seen.get(now) ?? { step: 0, calls: 0 };
    seen.set(now, s);
    if (now.step !== s.step) [s.step, s.calls] = [now.step, 0];
    return now.layer === layer && ++s.calls === n;
  };
};

/** The last entries that each row sees, in place of the best. */
function takeLast({ step, topk, selected }: OpArgs<'indexSelect', Tensors>, { rows }: Now): void {
  for (let r = 0; r < step.rows; r++) {
    const visible = Math.floor((rows!.positions[r]! + 1) / 4);
    for (let j = 0; visible > topk && j < topk; j++) i32(selected)[r * topk + j] = visible - topk + j;
  }
}

/** Mistakes of attention, hyper-connections and what comes before the layers. */
export const ATTENTION: readonly Plant[] = [
  {
    name: 'the embedding is off by one row',
    ...{ layer: null, ops: ['embed'] },
    mistake: given('embed', inLayer(null), ({ ids, table }, b) => ({
      ids: b.tensor(i32(ids).map((id) => (id + 1) % table.n)),
    })),
  },
  {
    name: 'tables have no YaRN',
    ...{ layer: null, ops: ['rope_tables'] },
    mistake: (right) => {
      const plain = right.createRope({ ropeDim: CONFIG.ropeHeadDim, theta: CONFIG.compressRopeTheta });
      let calls = 0;
      return { ropeTables: (args) => right.ropeTables(++calls % 2 === 0 ? { ...args, rope: plain } : args) };
    },
  },
  {
    name: 'the sink is missing',
    ...{ layer: 0, ops: ['attn.attend'] },
    explained: { op: 'attention', tensors: 'in.kv in.q in.sinks out', mistakes: ['attention-sink-missing'] },
    mistake: given('attend', inLayer(0), ({ heads }, b) => ({
      sinks: b.tensor(new Float32Array(heads).fill(-Infinity)),
    })),
  },
  {
    name: 'keys of the last token are not kept',
    ...{ layer: 0, ops: ['attn.window'] },
    mistake: instead('writeWindow', inLayer(0), (args, b) => {
      const kv = f32(args.kv).slice();
      const last = (args.step.rows - 1) * args.d;
      kv.copyWithin(last, last - args.d, last);
      b.writeWindow({ ...args, kv: b.tensor(kv) });
    }),
  },
  {
    name: 'hyper-connections iterate once less',
    ...{ layer: 0, ops: ['hc_ffn.pre'] },
    mistake: given('hcPre', inLayer(0, 'experts'), () => ({ iters: 1 })),
  },
  {
    name: 'residual mixing is transposed',
    ...{ layer: 1, ops: ['hc_attn.post'] },
    explained: {
      op: 'residual_mix',
      tensors: 'in.comb in.out in.post in.streams out.streams',
      mistakes: ['residual-comb-transposed'],
    },
    mistake: given('hcPost', inLayer(1, 'attention'), ({ rows, hc, comb }, b) => {
      const turned = new Float32Array(rows * hc * hc);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < hc; j++)
          for (let k = 0; k < hc; k++) turned[(i * hc + k) * hc + j] = f32(comb)[(i * hc + j) * hc + k]!;
      return { comb: b.tensor(turned) };
    }),
  },
  {
    name: 'rotary pairs are i and i + d/2',
    ...{ layer: 1, ops: ['attn.q_rope'] },
    explained: { op: 'rope', tensors: 'in.positions in.x out', mistakes: ['rope-half-split'] },
    mistake: instead(
      'rope',
      ({ heads, inverse }, now) => now.layer === 1 && heads > 1 && !inverse,
      ({ x, rows, heads, d, ropeDim, cos, sin }) => {
        const half = ropeDim / 2;
        for (let r = 0; r < rows * heads; r++) {
          for (let i = 0; i < half; i++) {
            const [a, b] = [(r + 1) * d - ropeDim + i, (r + 1) * d - half + i];
            const t = Math.floor(r / heads) * half + i;
            const [c, s] = [f32(cos)[t]!, f32(sin)[t]!];
            const [u, v] = [f32(x)[a]!, f32(x)[b]!];
            f32(x)[a] = u * c - v * s;
            f32(x)[b] = v * c + u * s;
          }
        }
      },
    ),
  },
  {
    name: 'a norm has eps 1e-5 instead of 1e-6',
    ...{ layer: 2, ops: ['attn.q_norm'] }, // before attn_norm the mean square is so large that float32 hides it
    mistake: given('rmsNorm', nthIn(2, 2), () => ({ eps: 1e-5 })),
  },
  {
    name: 'the newest compressed entry is missing',
    ...{ layer: 2, ops: ['attn.visible', 'attn.attend'] },
    explained: { op: 'attention', tensors: 'in.kv in.kv_comp in.q in.selected in.sinks out', mistakes: [] },
    mistake: given('attend', inLayer(2), ({ selected, step, topk }, b) => {
      const cut = i32(selected!).slice();
      for (let r = 0; r < step.rows; r++) {
        const row = cut.subarray(r * topk, (r + 1) * topk);
        const count = row.filter((e) => e >= 0).length;
        if (count > 0) row[count - 1] = -1;
      }
      return { selected: b.tensor(cut) };
    }),
  },
  {
    name: 'entries with equal scores are taken from the end',
    ...{ layer: 2, ops: ['attn.indexer.select'] },
    mistake: after(
      'indexSelect',
      ({ headWeights }, now) => now.layer === 2 && f32(headWeights).every((w) => w === 0),
      (args, _, now) => takeLast(args, now),
    ),
  },
  {
    name: 'the output is rotated forward, not back',
    ...{ layer: 3, ops: ['attn.out_rope'] },
    mistake: given(
      'rope',
      ({ inverse }, now) => now.layer === 3 && inverse,
      () => ({ inverse: false }),
    ),
  },
  {
    name: 'gates of open windows have no position bias',
    ...{ layer: 3, ops: ['attn.compressor.pool'] },
    mistake: (right, now) => {
      const plain = new Map<object, ReturnType<Backend['packCompressor']>>();
      return {
        packCompressor(ape, norm) {
          const w = right.packCompressor(ape, norm);
          plain.set(
            w,
            right.packCompressor(
              ape.map(() => 0),
              norm,
            ),
          );
          return w;
        },
        compress: (a) => right.compress(now.layer === 3 ? { ...a, weights: plain.get(a.weights)! } : a),
      };
    },
  },
  {
    name: 'entries are rotated by the next position',
    ...{ layer: 4, ops: ['attn.indexer.compressor.pool'] },
    mistake: after(
      'compress',
      ({ indexer }, now) => now.layer === 4 && indexer,
      ({ cache, layer }, _, now) => {
        const memory = f32(cache.part(layer, 'indexEntries'));
        const { indexHeadDim: dim = 0 } = cache.specs[layer]!;
        const rows = now.rows!;
        for (let s = 0; s < rows.sequences; s++) {
          const last = rows.positions[rows.firstRow[s + 1]! - 1]!;
          for (let p = rows.positions[rows.firstRow[s]!]!; p <= last; p++) {
            if ((p + 1) % 4 !== 0) continue;
            const at = (rows.memoryRow('entries4', s, (p + 1) / 4 - 1) + 1) * dim - 2;
            const [x, y] = [memory[at]!, memory[at + 1]!];
            memory[at] = x * Math.cos(0.01) - y * Math.sin(0.01);
            memory[at + 1] = y * Math.cos(0.01) + x * Math.sin(0.01);
          }
        }
      },
    ),
  },
  {
    name: 'the indexer takes the last entries',
    ...{ layer: 4, ops: ['attn.indexer.select'] },
    mistake: after('indexSelect', inLayer(4), (args, _, now) => takeLast(args, now)),
  },
  {
    name: 'the window is one token short',
    ...{ layer: 4, ops: ['attn.visible', 'attn.attend'] },
    explained: {
      op: 'attention',
      tensors: 'in.kv in.kv_comp in.q in.selected in.sinks out',
      mistakes: ['attention-window-short'],
    },
    mistake: instead('attend', inLayer(4), (args, b, now) =>
      attendWrongly(args, b, now, { window: CONFIG.slidingWindow - 1 }),
    ),
  },
  {
    name: 'projections that a rewind needs are not kept',
    ...{ layer: 5, ops: ['attn.compressor.pool'] },
    mistake: after('compress', inLayer(5), ({ cache, layer, width }, _, now) => {
      const row = now.rows!.memoryRow('open128', 0, 0);
      f32(cache.part(layer, 'openKv')).fill(0, row * width, (row + 1) * width);
    }),
  },
  {
    name: 'the head ignores its gain',
    ...{ layer: null, ops: ['hc_head'] },
    mistake: given(
      'hcHead',
      () => true,
      (_, b) => ({ gain: b.tensor(Float32Array.of(1)) }),
    ),
  },
  {
    name: 'the head takes row 0 for all',
    ...{ layer: null, ops: ['head.rows'] },
    mistake: given(
      'gatherRows',
      () => true,
      ({ index }, b) => ({ index: b.tensor(i32(index).map(() => 0)) }),
    ),
  },
];

/** Mistakes of routing, experts and products, with float32 inputs. */
export const EXPERTS: readonly Plant[] = [
  {
    name: 'routing weights are not scaled',
    ...{ layer: 0, ops: ['ffn.route'] },
    mistake: after('route', inLayer(0), ({ rows, topkWeights }) => {
      for (let i = 0; i < rows * topk; i++) f32(topkWeights)[i]! /= 1.5;
    }),
  },
  {
    name: 'equal scores go to the highest expert',
    ...{ layer: 1, ops: ['ffn.route'] },
    mistake: after(
      'route',
      ({ logits }, now) => now.layer === 1 && f32(logits)[0] === f32(logits)[1],
      ({ rows, topkIds }) => {
        for (let i = 0; i < rows * topk; i++) i32(topkIds)[i] = numExperts - 1 - (i % topk);
      },
    ),
  },
  {
    name: "two rows are staged in each other's place",
    ...{ layer: 1, ops: ['ffn.w13.stage'] },
    mistake: given(
      'stage',
      ({ slotToken }, now) => now.layer === 1 && slotToken !== null,
      ({ slotToken }, b) => {
        const swapped = i32(slotToken!).slice();
        [swapped[0], swapped[1]] = [swapped[1]!, swapped[0]!];
        return { slotToken: b.tensor(swapped) };
      },
    ),
  },
  {
    name: 'gate and up are swapped where SwiGLU and staging are one',
    ...{ layer: 2, ops: ['ffn.w2.stage'] },
    mistake: given('swigluStage', inLayer(2), ({ gateUp, slots, i }, b) => ({
      gateUp: b.tensor(swapped(f32(gateUp), slots, i)),
    })),
  },
  {
    name: 'gate and up are swapped',
    ...{ layer: 3, ops: ['ffn.shared.swiglu'] },
    mistake: given(
      'swiglu',
      ({ rows }, now) => now.layer === 3 && rows === now.rows!.rows,
      ({ gateUp, rows, i }, b) => ({
        gateUp: b.tensor(swapped(f32(gateUp), rows, i)),
      }),
    ),
  },
  {
    name: 'experts are chosen without the bias',
    ...{ layer: 3, ops: ['ffn.route'] },
    explained: {
      op: 'route',
      tensors: 'in.bias in.logits out.topk_ids out.topk_weights',
      mistakes: ['topk-without-bias'],
    },
    mistake: given('route', inLayer(3), () => ({ bias: null })),
  },
  {
    name: 'products of expert 0 stand for those of the last',
    ...{ layer: 3, ops: ['ffn.w2.gemm'] },
    mistake: after(
      'groupedGemm',
      ({ w }, now) => now.layer === 3 && w.name.endsWith('.w2'),
      ({ w, slots, out }) => {
        f32(out).copyWithin((slots - 1) * w.n, 0, w.n);
      },
    ),
  },
  {
    name: 'expert outputs are added without their weights',
    ...{ layer: 4, ops: ['ffn.scatter'] },
    mistake: given('scatterExperts', inLayer(4), ({ topkWeights }, b) => ({
      topkWeights: b.tensor(f32(topkWeights).map(() => 1)),
    })),
  },
  {
    name: 'a product leaves out its last input',
    ...{ layer: 4, ops: ['attn.wo_b'] },
    mistake: given(
      'linear',
      ({ w }, now) => now.layer === 4 && w.name.endsWith('wo_b'),
      ({ w, x, rows }, b) => {
        const cut = f32(x).slice();
        for (let r = 0; r < rows; r++) cut[(r + 1) * w.k - 1] = 0;
        return { x: b.tensor(cut) };
      },
    ),
  },
  {
    name: 'slots are tokens',
    ...{ layer: 5, ops: ['ffn.slots'] },
    mistake: after('assignSlots', inLayer(5), ({ rows, slotToken }) => {
      for (let i = 0; i < rows * topk; i++) i32(slotToken)[i] = i % rows;
    }),
  },
  {
    name: 'the shared expert is added twice',
    ...{ layer: 5, ops: ['ffn.add_shared'] },
    mistake: after('add', inLayer(5), (args, b) => b.add(args)),
  },
];

function swapped(gateUp: Float32Array, rows: number, i: number): Float32Array {
  const out = gateUp.slice();
  for (let r = 0; r < rows; r++) {
    out.set(gateUp.subarray(r * 2 * i + i, (r + 1) * 2 * i), r * 2 * i);
    out.set(gateUp.subarray(r * 2 * i, r * 2 * i + i), r * 2 * i + i);
  }
  return out;
}

const isFirst = ({ w }: { w: { name: string } }): boolean => w.name.endsWith('.w1w3');

/** Mistakes with inputs in NVFP4. */
export const QUANTIZED: readonly Plant[] = [
  {
    name: 'the two codes of a byte are swapped',
    ...{ layer: 0, ops: ['ffn.w13.stage'] },
    explained: {
      op: 'quantize_nvfp4',
      tensors: 'in.global_decode_scale in.x out.codes out.sf',
      mistakes: ['nibbles-swapped'],
    },
    mistake: given('stage', inLayer(0), ({ x }, b) => {
      const turned = f32(x).slice();
      for (let i = 0; i < turned.length; i += 2) [turned[i], turned[i + 1]] = [turned[i + 1]!, turned[i]!];
      return { x: b.tensor(turned) };
    }),
  },
  {
    name: 'alpha of expert 0 is used for all',
    ...{ layer: 0, ops: ['ffn.w13.gemm'] },
    explained: {
      op: 'grouped_gemm_nvfp4',
      tensors: 'in.a_codes in.a_global_decode in.a_sf in.b_codes in.b_global_decode in.b_sf in.expert_offsets out',
      mistakes: [],
    },
    mistake: given(
      'groupedGemm',
      (a, now) => now.layer === 0 && isFirst(a),
      ({ alpha }, b) => ({
        alpha: b.tensor(f32(alpha!).map((_, i) => f32(alpha!)[i % 2]!)),
      }),
    ),
  },
  {
    name: 'inputs are staged with the scale of expert 0',
    ...{ layer: 1, ops: ['ffn.w13.stage'] },
    mistake: given('stage', inLayer(1), ({ globalDecodeScale: g }, b) => ({
      globalDecodeScale: b.tensor(f32(g!).map(() => f32(g!)[0]!)),
    })),
  },
  {
    name: 'offsets begin with a zero',
    ...{ layer: 1, ops: ['ffn.w13.gemm'] },
    mistake: after(
      'groupedGemm',
      (a, now) => now.layer === 1 && isFirst(a),
      (args, b) => {
        const ends = i32(args.expertOffsets);
        b.groupedGemm({ ...args, expertOffsets: b.tensor(ends.map((_, e) => (e === 0 ? 0 : ends[e - 1]!))) });
      },
    ),
  },
  {
    name: 'one product is off by one unit in the last place',
    ...{ layer: 2, ops: ['ffn.w13.gemm'] },
    mistake: after(
      'groupedGemm',
      (a, now) => now.layer === 2 && isFirst(a),
      ({ out }) => {
        const bits = new Int32Array(f32(out).buffer, f32(out).byteOffset);
        bits[234]!++;
      },
    ),
  },
  {
    name: 'staging after SwiGLU does not clamp',
    ...{ layer: 3, ops: ['ffn.w2.stage'] },
    mistake: given('swigluStage', inLayer(3), () => ({ limit: Infinity })),
  },
  {
    name: 'SwiGLU does not clamp',
    ...{ layer: 4, ops: ['ffn.shared.swiglu'] },
    mistake: given(
      'swiglu',
      (_, now) => now.layer === 4 && now.linear.includes('shared_experts'),
      () => ({ limit: Infinity }),
    ),
  },
];

/** Mistakes at precisions that the model does not use. */
export const PRECISIONS: readonly Plant[] = [
  {
    name: 'inputs of products are not rounded to BF16',
    ...{ layer: 0, ops: ['linear.bf16'] },
    mistake: given(
      'linear',
      ({ inputs }, now) => now.layer === 0 && inputs === 'bf16',
      () => ({ inputs: 'f32' }),
    ),
  },
  {
    name: 'rows are cut to BF16 instead of rounded',
    ...{ layer: 1, ops: ['stage.bf16'] },
    mistake: given(
      'stage',
      ({ inputs, slotToken }, now) => now.layer === 1 && inputs === 'bf16' && slotToken !== null,
      ({ x }, b) => {
        const cut = f32(x).slice();
        new Uint32Array(cut.buffer).forEach((bits, i, all) => (all[i] = bits & 0xffff0000));
        return { x: b.tensor(cut) };
      },
    ),
  },
  {
    name: 'rows have one scale instead of their own',
    ...{ layer: 2, ops: ['swigluStage.nvfp4'] },
    mistake: given(
      'swigluStage',
      (a, now) => now.layer === 2 && a.inputs === 'nvfp4' && a.globalDecodeScale === null,
      ({ expertOffsets }, b) => ({
        globalDecodeScale: b.tensor(new Float32Array(expertOffsets.length).fill(1 / 64)),
      }),
    ),
  },
  {
    name: 'grouped products are not of inputs rounded to BF16',
    ...{ layer: 3, ops: ['groupedGemm.bf16'] },
    mistake: instead(
      'groupedGemm',
      ({ staged }, now) => now.layer === 3 && staged.inputs === 'bf16',
      (args, b) => {
        const { slots, k } = args.staged;
        const held = b.readStaged!(args.staged);
        if (held.inputs === 'nvfp4') throw new Error('staged in BF16');
        const staged = b.createStaged({ slots, k, inputs: ['f32'] });
        const { expertOffsets } = args;
        b.stage({
          ...{ k, slots, expertOffsets, staged },
          x: b.tensor(held.rows),
          slotToken: null,
          inputs: 'f32',
          globalDecodeScale: null,
        });
        b.groupedGemm({ ...args, staged });
      },
    ),
  },
];
