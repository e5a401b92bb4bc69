import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What ModelOpt leaves unquantized when only the routed experts are NVFP4. */
const EXCLUDED = ['*.attn.*', '*.ffn.shared_experts.*', 'head', 'embed', 'mtp.*'];

/**
 * `config.json` with its `quantization_config`, and `hf_quant_config.json`, as ModelOpt writes them for NVFP4 experts
 * (NVIDIA/Model-Optimizer `examples/deepseek/deepseek_v4/quantize_to_nvfp4.py`).
 */
export function manifests(dir: string, numLayers: number): Record<string, string | Uint8Array | object> {
  const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;
  const layers = Object.fromEntries(
    Array.from({ length: numLayers }, (_, i) => [`layers.${i}.ffn.experts`, { quant_algo: 'NVFP4', group_size: 16 }]),
  );
  const producer = { name: 'megamoe', version: 'nvfp4-experts' };
  const float4 = { num_bits: 4, type: 'float', group_size: 16, dynamic: false };
  return {
    'config.json': {
      ...config,
      quantization_config: {
        quant_method: 'modelopt',
        quant_algo: 'MIXED_PRECISION',
        moe_quant_algo: 'NVFP4',
        group_size: 16,
        quantized_layers: layers,
        config_groups: { group_0: { weights: float4, input_activations: float4, targets: ['Linear'] } },
        ignore: EXCLUDED,
        producer,
      },
    },
    'hf_quant_config.json': {
      producer,
      quantization: {
        quant_algo: 'MIXED_PRECISION',
        kv_cache_quant_algo: null,
        group_size: 16,
        quantized_layers: layers,
        exclude_modules: EXCLUDED,
      },
    },
  };
}
