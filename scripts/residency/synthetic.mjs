/** Writes a checkpoint of random weights of any size: real tensor names and formats, nothing of it in memory but one tensor. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeCheckpoint } from '../../packages/checkpoint/dist/index.js';

const { values: o } = parseArgs({
  options: {
    out: { type: 'string' },
    layers: { type: 'string', default: '4' },
    experts: { type: 'string', default: '64' },
    hidden: { type: 'string', default: '1024' },
    inter: { type: 'string', default: '1024' },
    format: { type: 'string', default: 'nvfp4' },
  },
});
const [layers, experts, d, inter] = [o.layers, o.experts, o.hidden, o.inter].map(Number);
if (!o.out || !['nvfp4', 'bf16'].includes(o.format))
  throw new Error('usage: synthetic.mjs --out DIR [--format nvfp4|bf16]');

const config = {
  architectures: ['DeepseekV4ForCausalLM'],
  model_type: 'deepseek_v4',
  vocab_size: 512,
  hidden_size: d,
  moe_intermediate_size: inter,
  num_hidden_layers: layers,
  num_attention_heads: 8,
  num_key_value_heads: 1,
  head_dim: 64,
  qk_rope_head_dim: 16,
  q_lora_rank: 128,
  o_lora_rank: 64,
  o_groups: 2,
  sliding_window: 64,
  compress_ratios: Array.from({ length: layers }, (_, i) => [0, 4, 128][i % 3]),
  index_n_heads: 4,
  index_head_dim: 32,
  index_topk: 16,
  n_routed_experts: experts,
  n_shared_experts: 1,
  num_experts_per_tok: 4,
  num_hash_layers: 0,
  scoring_func: 'sqrtsoftplus',
  norm_topk_prob: true,
  routed_scaling_factor: 1.5,
  swiglu_limit: 10,
  hc_mult: 4,
  hc_sinkhorn_iters: 20,
  hc_eps: 1e-6,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  compress_rope_theta: 160000,
  max_position_embeddings: 4096,
  bos_token_id: 0,
  eos_token_id: 1,
};

let state = 12345;
/** 32 random bits: xorshift. */
const next = () => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
};
const words = (bytes) => Uint32Array.from({ length: Math.ceil(bytes / 4) }, next);
const POOL = words(8e6); // a long period of bytes: experts differ by where they begin in it
const codes = (bytes) => {
  const out = new Uint8Array(bytes);
  const pool = new Uint8Array(POOL.buffer);
  for (let at = 0, from = next() % (pool.length - 1); at < bytes; from = 0) {
    const piece = pool.subarray(from, from + Math.min(pool.length - from, bytes - at));
    out.set(piece, at);
    at += piece.length;
  }
  return out;
};
/** E4M3 from 0.5 to 2. */
const scales = (n) => codes(n).map((b) => 0x30 + (b & 15));
const floats = (n, gain) => Float32Array.from({ length: n }, () => gain * (next() / 2 ** 31 - 1));
/** BF16 of either sign, about 2^-5 in size. */
const bf16 = (n) => {
  const out = new Uint16Array(codes(2 * n).buffer);
  for (let i = 0; i < n; i++) out[i] = (out[i] & 0x80ff) | 0x3d00;
  return out;
};

const tensors = [];
const add = (name, dtype, shape, data) => tensors.push({ name, dtype, shape, data });
const linear = (name, n, k) => add(`${name}.weight`, 'BF16', [n, k], () => bf16(n * k));
const vector = (name, n, ...rest) =>
  add(name, 'F32', [n, ...rest], () =>
    floats(
      [n, ...rest].reduce((a, b) => a * b),
      0.05,
    ),
  );
const norm = (name, n) => add(name, 'F32', [n], () => new Float32Array(n).fill(1));
const compressor = (p, ratio, dim) => {
  const width = ratio === 4 ? 2 * dim : dim;
  linear(`${p}.wkv`, width, d);
  linear(`${p}.wgate`, width, d);
  vector(`${p}.ape`, ratio, width);
  norm(`${p}.norm.weight`, dim);
};
linear('embed', config.vocab_size, d);
for (let l = 0; l < layers; l++) {
  const [p, ratio] = [`layers.${l}`, config.compress_ratios[l]];
  for (const block of ['attn', 'ffn']) {
    vector(`${p}.hc_${block}_fn`, 24, 4 * d);
    vector(`${p}.hc_${block}_base`, 24);
    vector(`${p}.hc_${block}_scale`, 3);
    norm(`${p}.${block}_norm.weight`, d);
  }
  linear(`${p}.attn.wq_a`, 128, d);
  norm(`${p}.attn.q_norm.weight`, 128);
  linear(`${p}.attn.wq_b`, 512, 128);
  linear(`${p}.attn.wkv`, 64, d);
  norm(`${p}.attn.kv_norm.weight`, 64);
  linear(`${p}.attn.wo_a`, 128, 256);
  linear(`${p}.attn.wo_b`, d, 128);
  vector(`${p}.attn.attn_sink`, 8);
  if (ratio) compressor(`${p}.attn.compressor`, ratio, 64);
  if (ratio === 4) {
    linear(`${p}.attn.indexer.wq_b`, 128, 128);
    linear(`${p}.attn.indexer.weights_proj`, 4, d);
    compressor(`${p}.attn.indexer.compressor`, 4, 32);
  }
  linear(`${p}.ffn.gate`, experts, d);
  vector(`${p}.ffn.gate.bias`, experts);
  for (const [m, n, k] of [
    ['w1', inter, d],
    ['w2', d, inter],
    ['w3', inter, d],
  ]) {
    linear(`${p}.ffn.shared_experts.${m}`, n, k);
    for (let e = 0; e < experts; e++) {
      const name = `${p}.ffn.experts.${e}.${m}`;
      if (o.format === 'bf16') {
        linear(name, n, k);
        continue;
      }
      add(`${name}.weight`, 'U8', [n, k / 2], () => codes((n * k) / 2));
      // A zero scale over codes that are not zero would be refused; these are all above it.
      add(`${name}.weight_scale`, 'F8_E4M3', [n, k / 16], () => scales((n * k) / 16));
      add(`${name}.weight_scale_2`, 'F32', [], () => Float32Array.of(0.25 / Math.sqrt(k)));
      add(`${name}.input_scale`, 'F32', [], () => Float32Array.of(8 / 2688));
    }
  }
}
norm('norm.weight', d);
vector('hc_head_fn', 4, 4 * d);
vector('hc_head_base', 4);
vector('hc_head_scale', 1);
linear('head', config.vocab_size, d);

await writeCheckpoint(o.out, tensors, { files: { 'config.json': config }, maxShardBytes: 1e9, overwrite: true });
const bytes = readdirSync(o.out).reduce((sum, file) => sum + statSync(join(o.out, file)).size, 0);
process.stdout.write(`${o.out}: ${(bytes / 1e9).toFixed(2)} GB\n`);
