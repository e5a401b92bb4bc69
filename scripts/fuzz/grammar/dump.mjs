/** Dumps for `megamoe explain` (packages/cli/docs/dumps.md): every operation with tensors of shapes that fit, and one thing wrong in some. */
import { fileOf, noise } from './safetensors.mjs';

const f32 = (name, shape, r) => {
  const n = shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length: n }, () => (r.below(4001) - 2000) / 1000);
  return { name, dtype: 'F32', shape, bytes: Buffer.from(values.buffer) };
};
/** Float tensors come in three types. */
const float = (name, shape, r) => {
  const t = f32(name, shape, r);
  if (r.below(4) > 0) return t;
  const n = t.bytes.length / 4;
  const out = Buffer.alloc(2 * n);
  for (let i = 0; i < n; i++) out.writeUInt16LE(t.bytes.readUInt16LE(4 * i + 2), 2 * i);
  return { ...t, dtype: 'BF16', bytes: out };
};
const u8 = (name, shape, r, low = 0, span = 256) => {
  const n = shape.reduce((a, b) => a * b, 1);
  const bytes = Buffer.from(Uint8Array.from({ length: n }, () => low + r.below(span)));
  return { name, dtype: r.pick(['U8', 'F8_E4M3']), shape, bytes };
};
const sf = (name, shape, r) => u8(name, shape, r, 0x30, 0x10);
const ints = (name, shape, values, r) => {
  const wide = r.below(3) === 0;
  const bytes = wide ? BigInt64Array.from(values.map(BigInt)) : Int32Array.from(values);
  return { name, dtype: wide ? 'I64' : 'I32', shape, bytes: Buffer.from(bytes.buffer) };
};
const repeated = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const up = (n, to) => Math.ceil(n / to) * to;

/** Cumulative ends of `e` experts over `rows`. */
function ends(e, rows, r) {
  const out = repeated(e, () => r.below(rows + 1)).sort((a, b) => a - b);
  out[e - 1] = rows;
  return out;
}
const optional = (r, f) => (r.below(2) === 0 ? [f()] : []);
/** Distinct experts for each token. */
const choices = (t, topk, e, r) => repeated(t, () => { const first = r.below(e); return repeated(topk, (i) => (first + i) % e); }).flat(); // prettier-ignore
const YARN = JSON.stringify({
  type: 'yarn',
  factor: 4,
  beta_fast: 32,
  beta_slow: 1,
  original_max_position_embeddings: 128,
});

const OPS = {
  scale_layout(r) {
    const [side, rows, kSf] = [r.pick(['rows', '2d', '3d']), 1 + r.below(140), r.pick([1, 2, 4, 5])];
    const kPad = up(kSf, 4);
    if (side === 'rows')
      return [{ side }, [sf('in.sf', [rows, kSf], r), u8('out.sf_swizzled', [up(rows, 128) * kPad], r)]];
    const e = 1 + r.below(3);
    if (side === '3d') {
      const n = 1 + r.below(20);
      return [{ side }, [sf('in.sf', [e, n, kSf], r), u8('out.sf_swizzled', [e * up(n, 128) * kPad], r)]];
    }
    const offsets = ends(e, rows, r);
    const padded = offsets.reduce((sum, end, i) => sum + up(end - (offsets[i - 1] ?? 0), 128), 0);
    return [{ side }, [sf('in.sf', [rows, kSf], r), ints('in.expert_offsets', [e], offsets, r), u8('out.sf_swizzled', [padded * kPad], r)]]; // prettier-ignore
  },
  quantize_nvfp4(r) {
    const [rows, k] = [r.below(4), 16 * (1 + r.below(4))];
    return [{}, [float('in.x', [rows, k], r), f32('in.global_decode_scale', r.pick([[], [1]]), { below: () => 2500 }), u8('out.codes', [rows, k / 2], r), sf('out.sf', [rows, k / 16], r)]]; // prettier-ignore
  },
  grouped_gemm_nvfp4(r) {
    const [t, n, k, e] = [1 + r.below(5), 1 + r.below(5), 16 * (1 + r.below(3)), 1 + r.below(3)];
    const list = [u8('in.a_codes', [t, k / 2], r), sf('in.a_sf', [t, k / 16], r), u8('in.b_codes', [e, n, k / 2], r), sf('in.b_sf', [e, n, k / 16], r)]; // prettier-ignore
    list.push(
      ints('in.expert_offsets', [e], ends(e, t, r), r),
      f32('in.a_global_decode', [e], r),
      f32('in.b_global_decode', [e], r),
    );
    return [{}, [...list, float('out', [t, n], r)]];
  },
  route(r) {
    const [t, e] = [1 + r.below(4), 2 + r.below(5)];
    const topk = 1 + r.below(e);
    const p = {
      topk: `${topk}`,
      scoring: r.pick(['sqrtsoftplus', 'softmax', 'sigmoid']),
      routed_scaling_factor: r.pick(['1', '1.5']),
    };
    const list = [float('in.logits', [t, e], r)];
    if (r.below(4) === 0) list.push(ints('in.topk_ids', [t, topk], choices(t, topk, e, r), r));
    else list.push(f32('in.bias', [e], r));
    list.push(ints('out.topk_ids', [t, topk], choices(t, topk, e, r), r), f32('out.topk_weights', [t, topk], r));
    list.push(...optional(r, () => ints('out.expert_offsets', [e], ends(e, t * topk, r), r)));
    return [p, list];
  },
  moe_nvfp4(r) {
    const [t, h, i, e] = [1 + r.below(3), 16 * (1 + r.below(2)), 16, 1 + r.below(3)];
    const topk = 1 + r.below(e);
    const list = [
      float('in.x', [t, h], r),
      ints('in.topk_ids', [t, topk], choices(t, topk, e, r), r),
      f32('in.topk_weights', [t, topk], r),
    ];
    for (const w of ['w1', 'w3', 'w2']) {
      const [n, k] = w === 'w2' ? [h, i] : [i, h];
      list.push(
        u8(`in.${w}_codes`, [e, n, k / 2], r),
        sf(`in.${w}_sf`, [e, n, k / 16], r),
        f32(`in.${w}_global_decode`, [e], { below: () => 2700 }),
      );
    }
    if (r.below(2) === 0)
      for (const w of ['w13', 'w2']) list.push(f32(`in.${w}_input_scale`, [e], { below: () => 2600 }));
    return [{ swiglu_limit: '10' }, [...list, float('out', [t, h], r)]];
  },
  attention(r) {
    const [s, h, d, ratio] = [1 + r.below(6), 1 + r.below(2), 8, r.pick([0, 4, 128])];
    const c = ratio === 0 ? 0 : Math.floor(s / ratio);
    const p = {
      ratio: `${ratio}`,
      window: `${1 + r.below(4)}`,
      rope_dim: '4',
      rope_theta: '10000',
      scale: '0.35',
      ...(r.below(3) === 0 ? { yarn: YARN } : {}),
    };
    const list = [
      float('in.q', [s, h, d], r),
      float('in.kv', [s, d], r),
      f32('in.kv_comp', [c, d], r),
      f32('in.sinks', [h], r),
    ];
    list.push(...optional(r, () => u8('in.selected', [s, c], r, 0, 2)), float('out', [s, h, d], r));
    return [p, list];
  },
  rope(r) {
    const [s, d] = [1 + r.below(5), r.pick([4, 8])];
    const p = {
      rope_dim: '4',
      rope_theta: r.pick(['10000', '160000']),
      layer: r.pick(['window', 'compressed']),
      ...(r.below(3) === 0 ? { yarn: YARN } : {}),
    };
    return [
      p,
      [
        float('in.x', [s, d], r),
        ints(
          'in.positions',
          [s],
          repeated(s, () => r.below(1000)),
          r,
        ),
        float('out', [s, d], r),
      ],
    ];
  },
  residual_mix(r) {
    const [s, hc, d] = [1 + r.below(3), 1 + r.below(4), 1 + r.below(8)];
    return [{}, [float('in.streams', [s, hc, d], r), float('in.out', [s, d], r), f32('in.post', [s, hc], r), f32('in.comb', [s, hc, hc], r), float('out.streams', [s, hc, d], r)]]; // prettier-ignore
  },
  penalty(r) {
    const v = 1 + r.below(12);
    const ids = (n) => repeated(n, () => r.below(v));
    const [a, b] = [r.below(4), r.below(4)];
    const p = {
      repetition_penalty: r.pick(['1', '1.1']),
      presence_penalty: r.pick(['0', '0.5']),
      frequency_penalty: '0',
    };
    return [
      p,
      [
        float('in.logits', [v], r),
        ints('in.prompt_ids', [a], ids(a), r),
        ints('in.output_ids', [b], ids(b), r),
        float('out.logits', [v], r),
      ],
    ];
  },
};

/** What can be wrong in a dump of the right form. */
const FAULTS = [
  (list, p, r) => list.splice(r.below(list.length), 1),
  (list, p, r) => (r.pick(list).name += 'x'),
  (list, p, r) => r.pick(list).shape.reverse(),
  (list, p, r) => r.pick(list).shape.push(1),
  (list, p, r) => r.pick(list).bytes.fill(r.pick([0, 0xff, 0x7f, 0x80])), // NaN, infinity, -1
  (list, p, r) => {
    const { bytes } = r.pick(list);
    if (bytes.length > 0) noise(4, r).copy(bytes, r.below(bytes.length));
  },
  (list, p, r) => Reflect.deleteProperty(p, r.pick(Object.keys(p))),
  (list, p, r) =>
    (p[r.pick(Object.keys(p))] = r.pick([
      '',
      '0',
      '-1',
      '1e999',
      'NaN',
      '0.5',
      '4294967296',
      'x',
      '[]',
      '{}',
      ' 4',
      '0x4',
    ])),
  (list, p, r) => (p.yarn = r.pick(['', 'null', '[]', '{', '{"factor":0}', '{"type":"yarn","factor":-1}'])),
  (list, p, r) => (p[r.pick(['extra', '__proto__', 'op '])] = 'x'),
];

/** A dump of one of the operations; in half of them something is wrong. */
export function makeDump(r) {
  const op = r.pick(Object.keys(OPS));
  const [parameters, tensors] = OPS[op](r);
  const wrong = r.below(10);
  const metadata = {
    op: wrong === 9 && r.below(4) === 0 ? r.pick(['', 'Rope', 'rope ', '__proto__']) : op,
    ...parameters,
  };
  if (wrong >= 6) r.pick(FAULTS)(tensors, metadata, r);
  return fileOf(tensors, r, { metadata, wrong: wrong === 5 ? 1 : 0 });
}
