import { describe, expect, it } from 'vitest';
import { canonicalName } from '../src/index';
import { SMALL_CONFIG, smallTensors } from './helpers';
import { TO_TRANSFORMERS } from './transformers-names';

describe('canonicalName', () => {
  it.each(TO_TRANSFORMERS)('%s is %s', (canonical, transformers) => {
    const at = (name: string): string => name.replace('.N.', '.12.');
    expect(canonicalName(at(transformers))).toBe(at(canonical));
    expect(canonicalName(at(canonical))).toBe(at(canonical));
  });

  it('the table is complete', () => {
    const known = new Set(TO_TRANSFORMERS.map(([canonical]) => canonical));
    const needed = [...smallTensors(SMALL_CONFIG).keys()].map((name) => name.replace(/^layers\.\d+\./, 'layers.N.'));
    expect(needed.filter((name) => !known.has(name) && !name.includes('.ffn.experts.'))).toEqual([]);
  });

  it.each([
    ['model.layers.3.self_attn.q_a_proj.weight_scale_inv', 'layers.3.attn.wq_a.scale'],
    ['model.layers.3.mlp.experts.7.up_proj.weight_scale_2', 'layers.3.ffn.experts.7.w3.weight_scale_2'],
    ['model.layers.3.mlp.experts.7.gate_proj.weight', 'layers.3.ffn.experts.7.w1.weight'],
    ['model.layers.3.mlp.experts.7.down_proj.input_scale', 'layers.3.ffn.experts.7.w2.input_scale'],
    ['model.layers.3.mlp.experts.gate_up_proj', 'layers.3.ffn.experts.gate_up_proj'],
    ['model.layers.3.mlp.experts.down_proj', 'layers.3.ffn.experts.down_proj'],
    ['model.mtp.0.norm.weight', 'mtp.0.norm.weight'],
    ['mtp.0.attn.wq_a.weight', 'mtp.0.attn.wq_a.weight'],
    ['something.else', 'something.else'],
    ['__proto__', '__proto__'],
  ])('%s becomes %s', (name, canonical) => {
    expect(canonicalName(name)).toBe(canonical);
  });
});
