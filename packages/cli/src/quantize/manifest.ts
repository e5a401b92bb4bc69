import type { Checkpoint } from '@megamoe/checkpoint';
import { join } from 'node:path';
import { readBytes } from '../read-file';
import type { QuantizedLayers } from './select';

/** What ModelOpt leaves unquantized when only the routed experts are NVFP4. */
const BESIDE_EXPERTS = ['*.attn.*', '*.ffn.shared_experts.*', 'head', 'embed', 'mtp.*'];
/** The same when all matrices of the layers are. */
const BESIDE_ALL = ['*.ffn.gate', 'head', 'embed', 'mtp.*'];
/** Fields of a source's FP8 manifest that stay true of the modules that stay FP8. */
const FP8_FIELDS = ['quant_method', 'activation_scheme', 'fmt', 'scale_fmt', 'weight_block_size'];
/** The same for a source that speaks of them in other words (compressed-tensors). */
const FP8_BLOCK = { quant_method: 'fp8', activation_scheme: 'dynamic', fmt: 'e4m3', weight_block_size: [128, 128] };

function fp8Fields(before: Record<string, unknown>): Record<string, unknown> {
  if (before.quant_method !== undefined && before.quant_method !== 'fp8') return FP8_BLOCK;
  return Object.fromEntries(FP8_FIELDS.flatMap((f) => (f in before ? [[f, before[f]]] : [])));
}

/**
 * `config.json` with its `quantization_config`, and `hf_quant_config.json`, as ModelOpt writes them (NVIDIA/Model-Optimizer
 * `examples/deepseek/deepseek_v4/quantize_to_nvfp4.py`): NVFP4 experts beside whatever the rest is stored as are MIXED_PRECISION, and an FP8
 * source stays `quant_method: fp8`, which is how its attention is read.
 * @param left matrices that could not be quantized
 */
export function manifests(
  checkpoint: Checkpoint,
  layers: QuantizedLayers,
  left: readonly string[],
): Record<string, string | Uint8Array | object> {
  const config = JSON.parse(readBytes(join(checkpoint.dir, 'config.json')).toString()) as Record<string, unknown>;
  const before = (config.quantization_config ?? {}) as Record<string, unknown>;
  const isMixed = layers === 'experts';
  const keepsFp8 =
    isMixed && [...checkpoint.modules.values()].some((m) => m.format === 'fp8' && !m.name.includes('.experts.'));
  const excluded = [...(isMixed ? BESIDE_EXPERTS : BESIDE_ALL), ...left];
  const entry = { quant_algo: 'NVFP4', group_size: 16 };
  const quantizedLayers = Object.fromEntries(
    Array.from({ length: checkpoint.config.numHiddenLayers }, (_, i) => [
      `layers.${i}${isMixed ? '.ffn.experts' : ''}`,
      entry,
    ]),
  );
  const algorithm = isMixed ? 'MIXED_PRECISION' : 'NVFP4';
  const producer = { name: 'megamoe', version: isMixed ? 'nvfp4-experts' : 'nvfp4-all' };
  const float4 = { num_bits: 4, type: 'float', group_size: 16, dynamic: false };
  return {
    'config.json': {
      ...config,
      // A head of its own beside a flag that ties it is the model's: the copy says so.
      ...(config.tie_word_embeddings === true ? { tie_word_embeddings: checkpoint.config.tieWordEmbeddings } : {}),
      quantization_config: {
        quant_method: 'modelopt',
        ...(keepsFp8 ? fp8Fields(before) : {}),
        quant_algo: algorithm,
        moe_quant_algo: 'NVFP4',
        group_size: 16,
        ...(isMixed ? { quantized_layers: quantizedLayers } : {}),
        config_groups: { group_0: { weights: float4, input_activations: float4, targets: ['Linear'] } },
        ignore: excluded,
        producer,
      },
    },
    'hf_quant_config.json': {
      producer,
      quantization: {
        quant_algo: algorithm,
        kv_cache_quant_algo: null,
        group_size: 16,
        ...(isMixed ? { quantized_layers: quantizedLayers } : {}),
        exclude_modules: excluded,
      },
    },
  };
}
