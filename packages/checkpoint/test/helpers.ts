import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seeded } from '@megamoe/testkit';
import { afterEach } from 'vitest';
import type { Checkpoint, Dtype, TensorToWrite } from '../src/index';
import { openCheckpoint, parseConfig, writeCheckpoint } from '../src/index';
import type { LinearSlot, TensorSlot } from '../src/tensors/layout';
import { modelSlots } from '../src/tensors/layout';

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** An empty folder that is removed after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'megamoe-checkpoint-'));
  folders.push(folder);
  return folder;
}

function describe(error: unknown, dir: string | undefined): string {
  const { code, message } = error as Error & { code?: string };
  const text = `${code ?? (error as Error).name}: ${message}`;
  return dir === undefined ? text : text.replaceAll(dir, 'DIR');
}

/** What `f` throws, as `code: message`, with `dir` shortened to DIR. */
export function thrown(f: () => unknown, dir?: string): string {
  try {
    f();
  } catch (error) {
    return describe(error, dir);
  }
  return 'nothing';
}

/** {@link thrown} for promises. */
export async function rejected(promise: Promise<unknown>, dir?: string): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return describe(error, dir);
  }
  return 'nothing';
}

/** A safetensors file of any header text and data: right or wrong, as given. */
export function rawSafetensors(
  header: string | Uint8Array,
  data: Uint8Array = new Uint8Array(0),
  length?: bigint,
): Buffer {
  const json = Buffer.from(header);
  const first = Buffer.alloc(8);
  first.writeBigUInt64LE(length ?? BigInt(json.length));
  return Buffer.concat([first, json, data]);
}

/** {@link rawSafetensors} in a file of its own. */
export function rawFile(
  header: string | Uint8Array,
  data?: Uint8Array,
  length?: bigint,
): { path: string; dir: string } {
  const dir = temporaryFolder();
  const path = join(dir, 'model.safetensors');
  writeFileSync(path, rawSafetensors(header, data, length));
  return { path, dir };
}

/** A config.json of a very small model with one layer of each attention kind, one of them hashed. */
export const SMALL_CONFIG = {
  architectures: ['DeepseekV4ForCausalLM'],
  model_type: 'deepseek_v4',
  vocab_size: 24,
  hidden_size: 32,
  moe_intermediate_size: 16,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 1,
  head_dim: 16,
  qk_rope_head_dim: 4,
  q_lora_rank: 16,
  o_lora_rank: 8,
  o_groups: 2,
  sliding_window: 8,
  compress_ratios: [0, 4, 128],
  index_n_heads: 2,
  index_head_dim: 8,
  index_topk: 4,
  n_routed_experts: 3,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  num_hash_layers: 1,
  max_position_embeddings: 512,
  rope_scaling: { type: 'yarn', factor: 4, beta_fast: 32, beta_slow: 1, original_max_position_embeddings: 128 },
  bos_token_id: 0,
  eos_token_id: 1,
};

/** How {@link smallModel} stores its matrices. */
export type SmallFormat = 'F32' | 'BF16' | 'F16' | 'nvfp4';

/** The tensors of a model of `config`, random but the same each time, by canonical name. */
export function smallTensors(
  config: Record<string, unknown> = SMALL_CONFIG,
  format: SmallFormat = 'BF16',
): Map<string, TensorToWrite> {
  const random = seeded(11);
  const out = new Map<string, TensorToWrite>();
  const add = (name: string, dtype: Dtype, shape: readonly number[], data: ArrayBufferView): void =>
    void out.set(name, { name, dtype, shape, data });
  const linear = ({ name, n, k, expert }: LinearSlot): void => {
    if (format === 'nvfp4' && expert) {
      add(`${name}.weight`, 'U8', [n, k / 2], random.bytes((n * k) / 2));
      add(`${name}.weight_scale`, 'F8_E4M3', [n, k / 16], random.scales((n * k) / 16));
      add(`${name}.weight_scale_2`, 'F32', [], Float32Array.of(0.25 + random.next()));
      add(`${name}.input_scale`, 'F32', [], Float32Array.of(0.25 + random.next()));
    } else if (format === 'F32') add(`${name}.weight`, 'F32', [n, k], random.floats(n * k));
    else {
      // Bits of small numbers: exponents well inside both formats.
      const [low, span] = format === 'F16' ? [0x2c00, 0x0c00] : [0x3c00, 0x0300];
      const bits = Uint16Array.from({ length: n * k }, () => low + random.int(span) + (random.int(2) << 15));
      add(`${name}.weight`, format === 'F16' ? 'F16' : 'BF16', [n, k], bits);
    }
  };
  const tensor = ({ name, shape, type }: TensorSlot): void => {
    const count = shape.reduce((a, b) => a * b, 1);
    if (type === 'float') add(name, 'F32', shape, random.floats(count));
    else
      add(
        name,
        'I64',
        shape,
        BigInt64Array.from({ length: count }, () => BigInt(random.int(3))),
      );
  };
  for (const slot of modelSlots(parseConfig(config).config)) {
    if (slot.kind === 'linear') linear(slot);
    else tensor(slot);
  }
  return out;
}

/** Writes tensors and a config as a checkpoint folder. */
export async function writeModel(
  tensors: Iterable<TensorToWrite>,
  config: object = SMALL_CONFIG,
  maxShardBytes = 1e9,
): Promise<string> {
  const dir = temporaryFolder();
  await writeCheckpoint(dir, [...tensors], { files: { 'config.json': config }, maxShardBytes, overwrite: true });
  return dir;
}

/** A tensor's data, which the tests give as arrays. */
export const dataOf = (t: TensorToWrite | undefined): ArrayBufferView => t!.data as ArrayBufferView;

/** Opens, runs `f`, closes. */
export function using<T>(dir: string, f: (checkpoint: Checkpoint) => T): T {
  const checkpoint = openCheckpoint(dir);
  try {
    return f(checkpoint);
  } finally {
    checkpoint.close();
  }
}

/** Every matrix, vector and table of a checkpoint, by canonical name. */
export function readAll(checkpoint: Checkpoint): Map<string, unknown> {
  const out = new Map<string, unknown>();
  for (const slot of modelSlots(checkpoint.config)) {
    const { name } = slot;
    if (slot.kind === 'tensor') {
      const count = slot.shape.reduce((a, b) => a * b, 1);
      out.set(name, slot.type === 'float' ? checkpoint.vector(name, count) : checkpoint.ints(name, slot.shape));
    } else if (slot.expert) out.set(name, checkpoint.expert(slot.expert.layer, slot.expert.index, slot.expert.matrix));
    else out.set(name, checkpoint.linear(name, slot.n, slot.k));
  }
  return out;
}
