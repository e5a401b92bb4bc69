import { join } from 'node:path';
import { CheckpointError, checkObject, checkString, describe } from '@megamoe/core';
import type * as z from 'zod/mini';
import { badFile, quote, reasonOf } from '../fail';
import { readWhole } from '../files/read-file';
import { settle } from '../files/replacement';
import { agree, parseRope } from './rope';
import type { RawConfig } from './schema';
import { configSchema, inWords } from './schema';
import { kindOfFile } from '../file-kind';
import type { CompressRatio, ModelConfig } from './types';

/** A checked config.json. */
export interface ParsedConfig {
  readonly config: ModelConfig;
  /** `quantization_config` as it stands, for `parseManifest`. */
  readonly quantizationConfig: Readonly<Record<string, unknown>> | undefined;
  /** `expert_dtype`: `fp4` or `fp8` in DeepSeek's own checkpoints. */
  readonly expertDtype: string | undefined;
  /** Token ids that the file leaves open (absent or null): `config` has the defaults, generation_config.json may say otherwise. */
  readonly openIds: readonly ('bosTokenId' | 'eosTokenIds')[];
  /** What was assumed because the file does not say it. */
  readonly warnings: readonly string[];
}

type Fail = (message: string) => Error;

const LAYER_TYPES: Readonly<Record<string, CompressRatio>> = {
  sliding_attention: 0,
  compressed_sparse_attention: 4,
  heavily_compressed_attention: 128,
};

/** One line for all of zod's complaints. */
export function issueText(error: z.core.$ZodError): string {
  const lines = error.issues.map((issue) => `${issue.path.map(String).join('.') || 'the file'}: ${issue.message}`);
  return lines.length > 5 ? `${lines.slice(0, 5).join('; ')}; and ${lines.length - 5} more` : lines.join('; ');
}

/** Why a file cannot be read as JSON: what it is instead, where its first bytes say so, else the parser's words. */
export function notJson(path: string, cause: unknown): string {
  const other = kindOfFile(path);
  return other === undefined ? `cannot be read as JSON: ${reasonOf(cause)}` : `expected JSON, found ${other}`;
}

/** JSON.parse of a file, with a CheckpointError when it is missing or no object. */
export function readJsonObject(path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(readWhole(path).toString());
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    const missing = ['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException).code ?? '');
    if (missing) throw badFile(path, `there is no such file (${reasonOf(cause)})`, { cause });
    throw badFile(path, notJson(path, cause), { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw badFile(path, 'expected a JSON object');
  return value as Record<string, unknown>;
}

function checkModelType(json: Record<string, unknown>, fail: Fail): void {
  const type = json.model_type;
  if (type === 'deepseek_v4') return;
  if (type === 'deepseek_v41') {
    throw fail(
      'model_type "deepseek_v41" is another architecture (DeepSeek-V4.1), which is not supported; expected "deepseek_v4"',
    );
  }
  throw fail(
    `model_type: expected "deepseek_v4", found ${type === undefined ? 'nothing' : typeof type === 'string' ? quote(type) : describe(type)}`,
  );
}

/** The attention kind of every layer, from either spelling. */
function parseRatios(raw: RawConfig, warnings: string[], fail: Fail): CompressRatio[] {
  const n = raw.num_hidden_layers;
  const rates = {
    compressed_sparse_attention: raw.compress_rate_csa,
    heavily_compressed_attention: raw.compress_rate_hca,
  };
  for (const [type, want] of Object.entries(LAYER_TYPES)) {
    if (want === 0) continue;
    const spellings = [raw.compress_rates?.[type], rates[type as keyof typeof rates]];
    const rate = agree(`compress_rates.${type}`, spellings, fail) ?? want;
    if (rate !== want) throw fail(`compress_rates.${type}: expected ${want}, found ${rate}`);
  }
  // The tail of a longer list belongs to the draft layers (MTP, DSpark).
  const fromRatios = raw.compress_ratios?.slice(0, n).map((ratio, i) => {
    if (ratio === 0 || ratio === 4 || ratio === 128) return ratio;
    throw fail(`compress_ratios[${i}]: expected 0, 4 or 128, found ${ratio}`);
  });
  const fromTypes = raw.layer_types?.slice(0, n).map((type, i) => {
    if (Object.hasOwn(LAYER_TYPES, type)) return LAYER_TYPES[type]!;
    throw fail(`layer_types[${i}]: expected one of ${Object.keys(LAYER_TYPES).join(', ')}, found ${quote(type)}`);
  });
  for (const [field, list] of [
    ['compress_ratios', fromRatios],
    ['layer_types', fromTypes],
  ] as const) {
    if (list && list.length < n)
      throw fail(`${field}: expected num_hidden_layers = ${n} entries, found ${list.length}`);
  }
  const differs = fromRatios && fromTypes ? fromRatios.findIndex((ratio, i) => ratio !== fromTypes[i]) : -1;
  if (differs >= 0) {
    throw fail(
      `compress_ratios[${differs}] = ${fromRatios![differs]} contradicts layer_types[${differs}] = ${raw.layer_types![differs]}`,
    );
  }
  const ratios = fromRatios ?? fromTypes;
  if (ratios) return ratios;
  warnings.push(
    "config.json has neither compress_ratios nor layer_types: assuming Hugging Face's default, 128, 128, 128, 4, 128, 4, ...",
  );
  return Array.from({ length: n }, (_, i) => (i >= 2 && i % 2 === 1 ? 4 : 128));
}

/** Hash layers must lead: both spellings can only mean a prefix. */
function parseHashLayers(raw: RawConfig, fail: Fail): number {
  const n = raw.num_hidden_layers;
  const types = raw.mlp_layer_types?.slice(0, n);
  if (!types) return Math.min(raw.num_hash_layers ?? 3, n);
  if (types.length < n) throw fail(`mlp_layer_types: expected num_hidden_layers = ${n} entries, found ${types.length}`);
  const hash = types.filter((t) => t === 'hash_moe').length;
  if (types.lastIndexOf('hash_moe') !== hash - 1)
    throw fail('mlp_layer_types: expected the "hash_moe" layers to come first');
  const count = raw.num_hash_layers;
  if (typeof count === 'number' && Math.min(count, n) !== hash) {
    throw fail(`num_hash_layers = ${count} contradicts mlp_layer_types, which has ${hash} "hash_moe" layers`);
  }
  return hash;
}

/** `qk_rope_head_dim`, or the fraction of `head_dim` that transformers writes instead. */
function parseRopeDim(raw: RawConfig, factor: number | undefined, fail: Fail): number {
  // Hugging Face truncates; a fraction such as 2/3 must still give back the whole number it was made from.
  const fromFactor = factor === undefined ? undefined : Math.trunc(raw.head_dim * factor + 1e-6);
  const dim = agree('qk_rope_head_dim', [raw.qk_rope_head_dim, fromFactor], fail) ?? Math.trunc(raw.head_dim / 8);
  if (dim < 2 || dim % 2 !== 0 || dim > raw.head_dim) {
    throw fail(`qk_rope_head_dim: expected an even number in [2, head_dim = ${raw.head_dim}], found ${dim}`);
  }
  return dim;
}

function checkConsistency(config: ModelConfig, fail: Fail): void {
  const { numExperts, numExpertsPerTok, numAttentionHeads, oGroups, ropeHeadDim, indexHeadDim, vocabSize } = config;
  if (numExpertsPerTok > numExperts) {
    throw fail(`num_experts_per_tok: expected at most n_routed_experts = ${numExperts}, found ${numExpertsPerTok}`);
  }
  if (numAttentionHeads % oGroups !== 0) {
    throw fail(`o_groups: expected a divisor of num_attention_heads = ${numAttentionHeads}, found ${oGroups}`);
  }
  if (config.compressRatios.includes(4) && indexHeadDim < ropeHeadDim) {
    throw fail(`index_head_dim: expected at least qk_rope_head_dim = ${ropeHeadDim}, found ${indexHeadDim}`);
  }
  if (config.eosTokenIds.length === 0) throw fail('eos_token_id: expected at least one id, found an empty list');
  for (const id of [config.bosTokenId, ...config.eosTokenIds]) {
    if (id >= vocabSize)
      throw fail(`bos_token_id and eos_token_id: expected below vocab_size = ${vocabSize}, found ${id}`);
  }
}

/**
 * Checks a parsed config.json and brings its spellings to one form.
 *
 * Read are DeepSeek's fields and transformers' (`layer_types` for `compress_ratios`, `mlp_layer_types` for `num_hash_layers`,
 * `partial_rotary_factor` for `qk_rope_head_dim`, nested `rope_parameters` for `rope_scaling`); two spellings of one thing must agree.
 * Missing fields take Hugging Face's defaults.
 *
 * @param json the parsed file
 * @param file path, for messages
 * @throws CheckpointError naming the field, what was expected and what was found
 */
export function parseConfig(json: Record<string, unknown>, file = 'config.json'): ParsedConfig {
  checkObject('parseConfig', 'json', json);
  checkString('parseConfig', 'file', file);
  const fail: Fail = (message) => badFile(file, message);
  checkModelType(json, fail);
  const checked = configSchema.safeParse(json, inWords);
  if (!checked.success) throw fail(issueText(checked.error));
  const raw = checked.data;
  const warnings: string[] = [];
  const { ropeTheta, compressRopeTheta, yarn, partialRotaryFactor } = parseRope(raw, fail);
  const { bos_token_id: bos, eos_token_id: eos } = raw;
  const config: ModelConfig = {
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    numHiddenLayers: raw.num_hidden_layers,
    numAttentionHeads: raw.num_attention_heads,
    headDim: raw.head_dim,
    ropeHeadDim: parseRopeDim(raw, partialRotaryFactor, fail),
    qLoraRank: raw.q_lora_rank,
    oLoraRank: raw.o_lora_rank,
    oGroups: raw.o_groups,
    slidingWindow: raw.sliding_window,
    compressRatios: parseRatios(raw, warnings, fail),
    indexNHeads: raw.index_n_heads,
    indexHeadDim: raw.index_head_dim,
    indexTopk: raw.index_topk,
    numExperts: raw.n_routed_experts,
    numSharedExperts: raw.n_shared_experts,
    numExpertsPerTok: raw.num_experts_per_tok,
    moeIntermediateSize: raw.moe_intermediate_size,
    numHashLayers: parseHashLayers(raw, fail),
    scoringFunc: raw.scoring_func,
    normTopkProb: raw.norm_topk_prob,
    routedScalingFactor: raw.routed_scaling_factor,
    swigluLimit: raw.swiglu_limit,
    hcMult: raw.hc_mult,
    hcSinkhornIters: raw.hc_sinkhorn_iters,
    hcEps: raw.hc_eps,
    rmsNormEps: raw.rms_norm_eps,
    ropeTheta,
    compressRopeTheta,
    yarn,
    maxPositionEmbeddings: raw.max_position_embeddings,
    bosTokenId: bos ?? 0,
    eosTokenIds: typeof eos === 'number' ? [eos] : (eos ?? [1]),
    tieWordEmbeddings: raw.tie_word_embeddings ?? false,
  };
  checkConsistency(config, fail);
  return {
    config,
    openIds: [
      ...(typeof bos === 'number' ? [] : (['bosTokenId'] as const)),
      ...(eos === null || eos === undefined ? (['eosTokenIds'] as const) : []),
    ],
    quantizationConfig: raw.quantization_config ?? undefined,
    expertDtype: raw.expert_dtype ?? undefined,
    warnings,
  };
}

/** {@link parseConfig} of `DIR/config.json`. */
export function readConfig(dir: string): ParsedConfig {
  checkString('readConfig', 'dir', dir);
  settle(dir);
  const path = join(dir, 'config.json');
  return parseConfig(readJsonObject(path), path);
}
