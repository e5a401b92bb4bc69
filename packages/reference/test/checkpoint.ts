/** Reads golden checkpoints for the tests: safetensors and config.json, nothing more. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeBf16, E4M3_VALUES } from '@megamoe/core';
import { dequantizeNvfp4, type ReferenceConfig, type WeightReader } from '../src/index';

export interface Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export type Tensors = ReadonlyMap<string, Tensor>;

export function readSafetensors(file: string): Tensors {
  const data = readFileSync(file);
  const start = 8 + Number(data.readBigUInt64LE(0));
  const header = JSON.parse(data.toString('utf8', 8, start)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  delete header['__metadata__'];
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => [name, { dtype, shape, bytes: new Uint8Array(data.subarray(start + from, start + to)) }],
    ),
  );
}

export function tensor(tensors: Tensors, name: string): Tensor {
  const found = tensors.get(name);
  if (!found) throw new Error(`no tensor ${name}`);
  return found;
}

/** The numbers of a tensor, exact in float64. */
export function values(tensors: Tensors, name: string): Float64Array {
  const { dtype, bytes } = tensor(tensors, name);
  const buffer = bytes.buffer as ArrayBuffer;
  if (dtype === 'F32') return new Float64Array(new Float32Array(buffer));
  if (dtype === 'I32') return new Float64Array(new Int32Array(buffer));
  if (dtype === 'I64') return Float64Array.from(new BigInt64Array(buffer), Number);
  if (dtype === 'BF16') return Float64Array.from(new Uint16Array(buffer), decodeBf16);
  if (dtype === 'F8_E4M3') return Float64Array.from(bytes, (b) => E4M3_VALUES[b]!);
  if (dtype === 'U8') return new Float64Array(bytes);
  throw new Error(`${name}: dtype ${dtype}`);
}

/** All tensors of a model directory. */
export function readModel(dir: string): Tensors {
  const files = readdirSync(dir).filter((f) => /^model.*\.safetensors$/.test(f));
  return new Map(files.flatMap((f) => [...readSafetensors(join(dir, f))]));
}

/** Weights as `referenceForward` asks for them; shapes are compared, NVFP4 experts are dequantized. */
export function weightReader(model: Tensors): WeightReader {
  return (name, shape) => {
    const { dtype, shape: stored } = tensor(model, name);
    const base = name.replace(/\.weight$/, '');
    if (dtype === 'U8') {
      return dequantizeNvfp4(
        { codes: tensor(model, name).bytes, sf: tensor(model, `${base}.weight_scale`).bytes },
        { m: shape[0]!, k: shape[1]!, globalDecodeScale: values(model, `${base}.weight_scale_2`)[0]! },
      );
    }
    if (stored.join() !== shape.join()) throw new Error(`${name}: asked for [${shape.join()}], has [${stored.join()}]`);
    return values(model, name);
  };
}

/** config.json as the reference reads it. */
export function readConfig(dir: string): ReferenceConfig {
  const c = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Record<string, never>;
  const yarn = c['rope_scaling'] as Record<string, number> | undefined;
  return {
    vocabSize: c['vocab_size']!,
    hiddenSize: c['hidden_size']!,
    numHiddenLayers: c['num_hidden_layers']!,
    numAttentionHeads: c['num_attention_heads']!,
    headDim: c['head_dim']!,
    ropeHeadDim: c['qk_rope_head_dim']!,
    qLoraRank: c['q_lora_rank']!,
    oLoraRank: c['o_lora_rank']!,
    oGroups: c['o_groups']!,
    slidingWindow: c['sliding_window']!,
    // The tail of a longer list belongs to draft layers.
    compressRatios: (c['compress_ratios']! as number[]).slice(
      0,
      c['num_hidden_layers'],
    ) as ReferenceConfig['compressRatios'],
    indexNHeads: c['index_n_heads']!,
    indexHeadDim: c['index_head_dim']!,
    indexTopk: c['index_topk']!,
    numExperts: c['n_routed_experts']!,
    numSharedExperts: c['n_shared_experts']!,
    numExpertsPerTok: c['num_experts_per_tok']!,
    moeIntermediateSize: c['moe_intermediate_size']!,
    numHashLayers: c['num_hash_layers']!,
    scoringFunc: c['scoring_func']!,
    normTopkProb: c['norm_topk_prob']!,
    routedScalingFactor: c['routed_scaling_factor']!,
    swigluLimit: c['swiglu_limit']!,
    hcMult: c['hc_mult']!,
    hcSinkhornIters: c['hc_sinkhorn_iters']!,
    hcEps: c['hc_eps']!,
    rmsNormEps: c['rms_norm_eps']!,
    ropeTheta: c['rope_theta']!,
    compressRopeTheta: c['compress_rope_theta']!,
    yarn: yarn && {
      factor: yarn['factor']!,
      betaFast: yarn['beta_fast']!,
      betaSlow: yarn['beta_slow']!,
      originalMaxPositionEmbeddings: yarn['original_max_position_embeddings']!,
    },
    tieWordEmbeddings: c['tie_word_embeddings']!,
  };
}
