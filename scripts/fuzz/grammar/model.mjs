/** Checkpoint folders of a very small model: every format of a matrix, both ways of naming, one file or shards, and one thing wrong. */
import { bundle } from './bundle.mjs';
import { changeConfig, makeGeneration, QUANTIZATION } from './config.mjs';
import { changeJson, Pairs, written } from './json.mjs';
import { bytesOf, fileOf, noise } from './safetensors.mjs';

function smallConfig(r) {
  const layers = 1 + r.below(3);
  return {
    ...{
      architectures: ['DeepseekV4ForCausalLM'],
      model_type: 'deepseek_v4',
      vocab_size: 8,
      num_hidden_layers: layers,
    },
    ...{ hidden_size: r.pick([32, 64]), moe_intermediate_size: r.pick([32, 64]), num_attention_heads: 2, head_dim: 16 },
    ...{ num_key_value_heads: 1, qk_rope_head_dim: 4, q_lora_rank: 32, o_lora_rank: 16, o_groups: r.pick([1, 2]) },
    ...{ sliding_window: 4, index_n_heads: 2, index_head_dim: 8, index_topk: 2, n_routed_experts: 1 + r.below(3) },
    ...{
      n_shared_experts: 1,
      num_experts_per_tok: 1,
      num_hash_layers: r.below(2),
      max_position_embeddings: 64,
      hc_mult: 1,
    },
    ...{ compress_ratios: Array.from({ length: layers }, () => r.pick([0, 4, 128])), bos_token_id: 0, eos_token_id: 1 },
    ...{ tie_word_embeddings: r.below(4) === 0 },
    rope_scaling: { type: 'yarn', factor: 4, beta_fast: 32, beta_slow: 1, original_max_position_embeddings: 16 },
  };
}

/** What a checkpoint of a config holds: matrices `[name, n, k]` and other tensors `[name, shape]`. Source: DeepSeek-V4's tensor table. */
function layout(c) {
  const [d, hc, e, i] = [c.hidden_size, c.hc_mult, c.n_routed_experts, c.moe_intermediate_size];
  const matrices = [['embed', c.vocab_size, d]];
  const tensors = [
    ['norm.weight', [d]],
    ['hc_head_fn', [hc, hc * d]],
    ['hc_head_base', [hc]],
    ['hc_head_scale', [1]],
  ];
  const compressor = (p, ratio, dim) => {
    const width = ratio === 4 ? 2 * dim : dim;
    matrices.push([`${p}.wkv`, width, d], [`${p}.wgate`, width, d]);
    tensors.push([`${p}.ape`, [ratio, width]], [`${p}.norm.weight`, [dim]]);
  };
  if (!c.tie_word_embeddings) matrices.push(['head', c.vocab_size, d]);
  for (let l = 0; l < c.num_hidden_layers; l++) {
    const [p, a, f] = [`layers.${l}`, `layers.${l}.attn`, `layers.${l}.ffn`];
    const mix = (2 + hc) * hc;
    for (const block of ['attn', 'ffn'])
      tensors.push([`${p}.hc_${block}_fn`, [mix, hc * d]], [`${p}.hc_${block}_base`, [mix]], [`${p}.hc_${block}_scale`, [3]], [`${p}.${block}_norm.weight`, [d]]); // prettier-ignore
    const [h, hd, rq, ro, g] = [c.num_attention_heads, c.head_dim, c.q_lora_rank, c.o_lora_rank, c.o_groups];
    matrices.push([`${a}.wq_a`, rq, d], [`${a}.wq_b`, h * hd, rq], [`${a}.wkv`, hd, d]);
    matrices.push([`${a}.wo_a`, g * ro, (h * hd) / g], [`${a}.wo_b`, d, g * ro]);
    tensors.push([`${a}.q_norm.weight`, [rq]], [`${a}.kv_norm.weight`, [hd]], [`${a}.attn_sink`, [h]]);
    const ratio = c.compress_ratios[l];
    if (ratio > 0) compressor(`${a}.compressor`, ratio, hd);
    if (ratio === 4) {
      matrices.push(
        [`${a}.indexer.wq_b`, c.index_n_heads * c.index_head_dim, rq],
        [`${a}.indexer.weights_proj`, c.index_n_heads, d],
      );
      compressor(`${a}.indexer.compressor`, ratio, c.index_head_dim);
    }
    matrices.push([`${f}.gate`, e, d]);
    if (l < c.num_hash_layers) tensors.push([`${f}.gate.tid2eid`, [c.vocab_size, c.num_experts_per_tok]]);
    else tensors.push([`${f}.gate.bias`, [e]]);
    for (const [w, n, k] of [
      ['w1', i, d],
      ['w2', d, i],
      ['w3', i, d],
    ])
      // prettier-ignore
      for (const part of ['shared_experts', ...Array.from({ length: e }, (_, x) => `experts.${x}`)])
        matrices.push([`${f}.${part}.${w}`, n, k]);
  }
  return { matrices, tensors };
}

const floats = (n, r) => Buffer.from(Float32Array.from({ length: n }, () => (r.below(2001) - 1000) / 1000).buffer);
const tensor = (name, dtype, shape, bytes) => ({ name, dtype, shape, bytes });

/** Bits of 16 that are small numbers in BF16 and in F16. */
function halves(n, r) {
  const out = Buffer.alloc(2 * n);
  for (let i = 0; i < n; i++) out.writeUInt16LE(0x3c00 + r.below(0x300) + (r.below(2) << 15), 2 * i);
  return out;
}
/** E4M3 or E8M0 bytes of middling size. */
const scales = (n, r, low, span) => Buffer.from(Uint8Array.from({ length: n }, () => low + r.below(span)));
const scalar = (name, r) => tensor(name, 'F32', r.pick([[], [1]]), floats(1, { below: () => 1001 + r.below(900) }));

/** A matrix as tensors, by format. */
const FORMATS = {
  f32: (p, n, k, r) => [tensor(`${p}.weight`, 'F32', [n, k], floats(n * k, r))],
  bf16: (p, n, k, r) => [tensor(`${p}.weight`, 'BF16', [n, k], halves(n * k, r))],
  f16: (p, n, k, r) => [tensor(`${p}.weight`, 'F16', [n, k], halves(n * k, r))],
  fp8: (p, n, k, r) => {
    const tiles = [Math.ceil(n / 128), Math.ceil(k / 128)];
    const count = tiles[0] * tiles[1];
    const codes = tensor(`${p}.weight`, 'F8_E4M3', [n, k], scales(n * k, r, 0x20, 0x30));
    return [
      codes,
      r.pick([
        () => tensor(`${p}.scale`, 'F8_E8M0', tiles, scales(count, r, 0x70, 0x10)),
        () => tensor(`${p}.weight_scale_inv`, 'F32', tiles, Buffer.from(new Float32Array(count).fill(0.5).buffer)),
        () => tensor(`${p}.weight_scale`, 'BF16', tiles, halves(count, { below: () => 0 })),
      ])(),
    ];
  },
  mxfp4: (p, n, k, r) => {
    const [weight, scale] = r.pick([['weight', 'scale'], ['weight_packed', 'weight_scale'], ['weight', 'weight_scale']]); // prettier-ignore
    return [
      tensor(`${p}.${weight}`, weight === 'weight' ? 'I8' : 'U8', [n, k / 2], noise((n * k) / 2, r)),
      tensor(`${p}.${scale}`, r.pick(['F8_E8M0', 'U8']), [n, k / 32], scales((n * k) / 32, r, 0x70, 0x10)),
    ];
  },
  nvfp4: (p, n, k, r) => [
    tensor(`${p}.weight`, 'U8', [n, k / 2], noise((n * k) / 2, r)),
    tensor(`${p}.weight_scale`, 'F8_E4M3', [n, k / 16], scales((n * k) / 16, r, 0x20, 0x30)),
    scalar(`${p}.weight_scale_2`, r),
    ...(r.below(2) === 0 ? [scalar(`${p}.input_scale`, r)] : []),
  ],
  packed: (p, n, k, r) => [
    tensor(`${p}.weight_packed`, 'U8', [n, k / 2], noise((n * k) / 2, r)),
    tensor(`${p}.weight_scale`, 'F8_E4M3', [n, k / 16], scales((n * k) / 16, r, 0x20, 0x30)),
    scalar(`${p}.weight_global_scale`, r),
    ...(r.below(2) === 0 ? [scalar(`${p}.input_global_scale`, r)] : []),
    ...(r.below(3) === 0
      ? [tensor(`${p}.weight_shape`, 'I64', [2], Buffer.from(BigInt64Array.of(BigInt(n), BigInt(k)).buffer))]
      : []),
  ],
};

/** Matrices that may be quantized. */
const QUANTIZED = /experts|attn\.(?:wq_a|wq_b|wkv|wo_a|wo_b)$/;

/** Transformers' names for DeepSeek's, in order. */
const TRANSFORMERS = [
  ...[[/^embed\./, 'model.embed_tokens.'], [/^head\./, 'lm_head.'], [/^norm\./, 'model.norm.'], [/^hc_head_/, 'model.hc_head.hc_']], // prettier-ignore
  ...[[/^layers\./, 'model.layers.'], [/\.attn_norm\./, '.input_layernorm.'], [/\.ffn_norm\./, '.post_attention_layernorm.']], // prettier-ignore
  ...[
    [/\.hc_(attn|ffn)_/, '.$1_hc.'],
    [/\.attn\.attn_sink$/, '.self_attn.sinks'],
  ],
  ...[[/\.attn\.indexer\.weights_proj\./, '.self_attn.compressor.indexer.scorer.weights_proj.']],
  ...[[/\.attn\.indexer\.wq_b\./, '.self_attn.compressor.indexer.q_b_proj.']],
  ...[[/\.attn\.indexer\.compressor\./, '.self_attn.compressor.indexer.'], [/\.attn\.compressor\./, '.self_attn.compressor.']], // prettier-ignore
  ...[[/(\.compressor\..*)wkv\./, '$1kv_proj.'], [/(\.compressor\..*)wgate\./, '$1gate_proj.'], [/(\.compressor\..*)ape$/, '$1position_bias']], // prettier-ignore
  ...[
    [/(\.compressor\.(?:.*\.)?)norm\./, '$1kv_norm.'],
    [/\.attn\.w([qo])_([ab])\./, '.self_attn.$1_$2_proj.'],
  ],
  ...[[/\.attn\.wkv\./, '.self_attn.kv_proj.'], [/\.attn\.q_norm\./, '.self_attn.q_a_norm.'], [/\.attn\.kv_norm\./, '.self_attn.kv_norm.']], // prettier-ignore
  ...[
    [/\.ffn\.gate\.bias$/, '.mlp.gate.e_score_correction_bias'],
    [/\.ffn\./, '.mlp.'],
    [/\.w1\./, '.gate_proj.'],
  ],
  ...[
    [/\.w3\./, '.up_proj.'],
    [/\.w2\./, '.down_proj.'],
  ],
];
const renamed = (name) => TRANSFORMERS.reduce((text, [from, to]) => text.replace(from, to), name);

/** All tensors of a model; `formats` are those that its quantized matrices may have. */
function tensorsOf(config, r, formats) {
  const { matrices, tensors } = layout(config);
  const plain = r.pick(['f32', 'bf16', 'f16']);
  const chosen = new Map(); // of a layer's experts: they have one format
  const formatOf = (p, k) => {
    const layer = /^(layers\.\d+)\.ffn\.experts/.exec(p)?.[1];
    const format = !QUANTIZED.test(p) ? plain : (chosen.get(layer) ?? r.pick(formats));
    if (layer !== undefined) chosen.set(layer, format);
    return k % 32 === 0 || !/fp4|packed/.test(format) ? format : plain;
  };
  const out = matrices.flatMap(([p, n, k]) => FORMATS[formatOf(p, k)](p, n, k, r));
  for (const [name, shape] of tensors) {
    const count = shape.reduce((a, b) => a * b, 1);
    const ids = name.endsWith('tid2eid');
    const bytes = ids
      ? Buffer.from(new BigInt64Array(count).map(() => BigInt(r.below(config.n_routed_experts))).buffer)
      : floats(count, r);
    out.push(tensor(name, ids ? 'I64' : 'F32', shape, bytes));
  }
  return out;
}

/** What can be wrong with tensors. */
const TENSOR_FAULTS = [
  (list, r) => list.splice(r.below(list.length), 1),
  (list, r) => (r.pick(list).name += r.pick(['x', '.weight', '_scale', '2'])),
  (list, r) =>
    (r.pick(list).name = r.pick(list).name.replace('layers.0', `layers.${r.pick([1, 9, 10 ** 9, '00', '-1'])}`)),
  (list, r) => (r.pick(list).name = r.pick(list).name.replace(/experts\.\d+/, `experts.${r.pick([7, 2 ** 31, '00'])}`)),
  (list, r) => list.push({ ...r.pick(list), name: `mtp.0.${r.pick(list).name}` }), // draft layers may be there
  (list, r) =>
    list.push({ ...r.pick(list), name: `layers.0.attn.${r.pick(['inv_freq', 'rotary.inv_freq', 'other'])}` }),
  (list, r) => (r.pick(list).shape = r.pick([[], [1], [0], [2, 2]])),
  (list, r) => r.pick(list).shape.reverse(),
  (list, r) => {
    const t = r.pick(list);
    t.dtype = r.pick(['F32', 'BF16', 'F16', 'U8', 'I8', 'F8_E4M3', 'F8_E8M0', 'I64', 'I32', 'F64', 'BOOL', 'F4']);
    const bytes = bytesOf(t.dtype, t.shape);
    if (bytes !== undefined) t.bytes = noise(bytes, r);
  },
  (list, r) => {
    const { bytes } = r.pick(list);
    for (let n = 0; n < 3 && bytes.length > 0; n++) bytes[r.below(bytes.length)] = r.pick([0, 0x7f, 0x80, 0xff, 0x78]); // NaN, infinity
  },
  (list, r) => r.pick(list).bytes.fill(r.pick([0, 0xff, 0x7f])),
  (list, r) => list.push(r.pick(list)),
];

const INDEX = 'model.safetensors.index.json';

/** A folder; in about half of them something is wrong. */
export function makeModel(r) {
  const config = smallConfig(r);
  const formats = r.pick([
    ['f32'],
    ['bf16'],
    ['fp8'],
    ['mxfp4'],
    ['nvfp4'],
    ['packed'],
    ['nvfp4', 'bf16'],
    Object.keys(FORMATS),
  ]);
  const tensors = tensorsOf(config, r, formats);
  if (r.below(3) === 0) for (const t of tensors) t.name = renamed(t.name);
  const wrong = r.below(8); // below 4: nothing is
  if (wrong === 4 || wrong === 7) r.pick(TENSOR_FAULTS)(tensors, r);
  const shards = r.pick([1, 1, 2, 3]);
  const parts = Array.from({ length: shards }, () => []);
  for (const t of tensors) parts[r.below(shards)].push(t);
  const name = (i) => (shards === 1 ? 'model.safetensors' : `model-0000${i + 1}-of-0000${shards}.safetensors`);
  const files = new Map();
  if (shards > 1) {
    const map = parts.flatMap((part, i) => part.map((t) => [t.name, name(i)]));
    const total = tensors.reduce((n, t) => n + t.bytes.length, 0);
    const index = { metadata: { total_size: total }, weight_map: new Pairs(map) };
    if (wrong === 5) indexFault(index, map, r, name);
    files.set(INDEX, Buffer.from(written(index, r)));
  }
  for (const [i, part] of parts.entries())
    files.set(name(i), fileOf(part, r, { metadata: { format: 'pt' }, wrong: wrong === 7 && r.below(4) === 0 ? 1 : 0 }));
  const said = r.below(3); // what the files say of their quantization, where, and whether it is true
  if (said === 0) config.quantization_config = r.pick(QUANTIZATION);
  if (said === 1) files.set('hf_quant_config.json', Buffer.from(written(manifest(r), r)));
  if (r.below(3) === 0) files.set('generation_config.json', makeGeneration(r));
  if (wrong === 6) changeConfig(config, r, 1, 5);
  files.set('config.json', Buffer.from(written(config, r)));
  return bundle(files);
}

function manifest(r) {
  const json = {
    producer: { name: 'modelopt' },
    quantization: { quant_algo: 'NVFP4', group_size: 16, exclude_modules: ['*.attn.*', 'head'] },
  };
  return r.below(2) === 0 ? json : changeJson(json, r, ['quantized_layers', 'ignore', 'config_groups']);
}

function indexFault(index, map, r, name) {
  r.pick([
    () => (r.pick(map)[1] = name(r.below(3))),
    () => map.splice(r.below(map.length), 1),
    () => map.push([`${r.pick(map)[0]}x`, name(0)]),
    () => map.push([r.pick(map)[0], name(1)]),
    () => (r.pick(map)[1] = r.pick(['../a.safetensors', '/dev/zero', '.a.safetensors', 'b.safetensors', '', 7, null])),
    () => (index.metadata = r.pick([null, {}, { total_size: -1 }, { total_size: '1' }, { total_size: 2 ** 53 }])),
    () => (index.weight_map = r.pick([null, [], {}, 'x'])),
    () => delete index.metadata,
  ])();
}
