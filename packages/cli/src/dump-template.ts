import type { TensorToWrite } from '@megamoe/checkpoint';

/** A tensor of a template: its type and shape, and for inputs that not every value suits, the values. */
type Part = readonly [dtype: 'F32' | 'I32' | 'U8', shape: readonly number[], values?: readonly number[]];

interface Template {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: Readonly<Record<string, Part>>;
}

/** Weights of experts, two of them, in NVFP4: codes, block scales of 1 (0x38), global scales. */
const experts = (name: string, n: number, k: number): Record<string, Part> => ({
  [`in.${name}_codes`]: ['U8', [2, n, k / 2]],
  [`in.${name}_sf`]: ['U8', [2, n, k / 16], [0x38]],
  [`in.${name}_global_decode`]: ['F32', [2], [0.01]],
});

/** The smallest dump of each operation that has every tensor that must be there (docs/dumps.md). */
const TEMPLATES: Readonly<Record<string, Template>> = {
  scale_layout: {
    metadata: { side: 'rows' },
    tensors: { 'in.sf': ['U8', [40, 4], [0x38]], 'out.sf_swizzled': ['U8', [512]] },
  },
  quantize_nvfp4: {
    metadata: {},
    tensors: {
      'in.x': ['F32', [4, 32]],
      'in.global_decode_scale': ['F32', [], [0.001]],
      'out.codes': ['U8', [4, 16]],
      'out.sf': ['U8', [4, 2]],
    },
  },
  grouped_gemm_nvfp4: {
    metadata: {},
    tensors: {
      'in.a_codes': ['U8', [4, 16]],
      'in.a_sf': ['U8', [4, 2], [0x38]],
      'in.b_codes': ['U8', [2, 8, 16]],
      'in.b_sf': ['U8', [2, 8, 2], [0x38]],
      'in.expert_offsets': ['I32', [2], [1, 4]],
      'in.a_global_decode': ['F32', [2], [0.01]],
      'in.b_global_decode': ['F32', [2], [0.01]],
      out: ['F32', [4, 8]],
    },
  },
  route: {
    metadata: { topk: '2', scoring: 'sqrtsoftplus', routed_scaling_factor: '1.5' },
    tensors: {
      'in.logits': ['F32', [3, 8]],
      'in.bias': ['F32', [8], [0]],
      'out.topk_ids': ['I32', [3, 2], [0, 1]],
      'out.topk_weights': ['F32', [3, 2]],
    },
  },
  moe_nvfp4: {
    metadata: { swiglu_limit: '7' },
    tensors: {
      'in.x': ['F32', [3, 32]],
      'in.topk_ids': ['I32', [3, 1], [0, 1, 1]],
      'in.topk_weights': ['F32', [3, 1], [1]],
      ...experts('w1', 16, 32),
      ...experts('w3', 16, 32),
      ...experts('w2', 32, 16),
      out: ['F32', [3, 32]],
    },
  },
  attention: {
    metadata: { ratio: '0', window: '8', rope_dim: '4', rope_theta: '10000', scale: '0.25' },
    tensors: {
      'in.q': ['F32', [5, 2, 16]],
      'in.kv': ['F32', [5, 16]],
      'in.sinks': ['F32', [2], [0]],
      out: ['F32', [5, 2, 16]],
    },
  },
  rope: {
    metadata: { rope_dim: '4', rope_theta: '10000', layer: 'window' },
    tensors: { 'in.x': ['F32', [3, 8]], 'in.positions': ['I32', [3], [0, 1, 2]], out: ['F32', [3, 8]] },
  },
  residual_mix: {
    metadata: {},
    tensors: {
      'in.streams': ['F32', [2, 4, 8]],
      'in.out': ['F32', [2, 8]],
      'in.post': ['F32', [2, 4]],
      'in.comb': ['F32', [2, 4, 4]],
      'out.streams': ['F32', [2, 4, 8]],
    },
  },
  penalty: {
    metadata: { repetition_penalty: '1.1', presence_penalty: '0', frequency_penalty: '0' },
    tensors: {
      'in.logits': ['F32', [16]],
      'in.prompt_ids': ['I32', [2], [3, 5]],
      'in.output_ids': ['I32', [1], [7]],
      'out.logits': ['F32', [16]],
    },
  },
};

/** Operations that have a template. */
export const TEMPLATE_OPS: readonly string[] = Object.keys(TEMPLATES);

const ARRAYS = { F32: Float32Array, I32: Int32Array, U8: Uint8Array } as const;

/** Values that differ, so that a mistake shows: floats around zero, codes of any kind; zeros for an output, which is to be replaced. */
function valuesOf(name: string, [dtype, shape, values]: Part): TensorToWrite {
  const n = shape.reduce((a, b) => a * b, 1);
  const any = (i: number): number => (dtype === 'F32' ? Math.sin(i + name.length) : (i * 37 + name.length) % 256);
  const at = (i: number): number => values?.[i % values.length] ?? (name.startsWith('in.') ? any(i) : 0);
  const data = new ARRAYS[dtype](n);
  for (let i = 0; i < n; i++) data[i] = at(i);
  return { name, dtype, shape, data };
}

/** A dump of an operation with small inputs and outputs of zeros: what to write in the place of which. */
export function dumpTemplate(op: string): { metadata: Record<string, string>; tensors: TensorToWrite[] } {
  const { metadata, tensors } = TEMPLATES[op]!;
  return {
    metadata: { op, ...metadata },
    tensors: Object.entries(tensors).map(([name, part]) => valuesOf(name, part)),
  };
}
