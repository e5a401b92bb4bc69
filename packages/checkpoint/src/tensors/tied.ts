import type { ModelConfig } from '../config/types';
import type { TensorInfo, TensorStore } from '../safetensors/store';
import { canonicalName } from './names';

/** Bytes that are compared at a time. */
const PIECE_BYTES = 4 << 20;

/** Whether two stored tensors are alike in type, shape and every byte. Those that differ do so early on, as a rule. */
function isSame(store: TensorStore, a: TensorInfo, b: TensorInfo): boolean {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  for (let at = 0; at < a.bytes; at += PIECE_BYTES) {
    const end = Math.min(a.bytes, at + PIECE_BYTES);
    if (Buffer.compare(store.read(a.name, at, end), store.read(b.name, at, end)) !== 0) return false;
  }
  return true;
}

/**
 * A head that is stored though the config ties it to the embedding: a fine-tune that untied them and kept the flag. The stored head is the model's,
 * as transformers 5 and vLLM have it; a copy of the embedding (many writers store one) stays tied.
 * @returns the config to go by; `warn` hears when it is not the one given
 */
export function untieStoredHead(config: ModelConfig, store: TensorStore, warn: (warning: string) => void): ModelConfig {
  if (!config.tieWordEmbeddings) return config;
  const named = new Map([...store.tensors.values()].map((info) => [canonicalName(info.name), info]));
  const head = named.get('head.weight') ?? named.get('head.weight_packed');
  if (!head) return config;
  const embed = named.get('embed.weight');
  if (embed && isSame(store, head, embed)) return config;
  warn(
    `${head.file}: tie_word_embeddings is true, but ${head.name} is stored and differs from ${embed?.name ?? 'the embedding'}: the stored head is used`,
  );
  return { ...config, tieWordEmbeddings: false };
}
