import { describe, expect, it } from 'vitest';
import type { TensorToWrite } from '../src/index';
import { openCheckpoint } from '../src/index';
import type { SmallFormat } from './helpers';
import { dataOf, readAll, SMALL_CONFIG, smallTensors, thrown, using, writeModel } from './helpers';
import { TO_TRANSFORMERS } from './transformers-names';

describe("transformers' names", () => {
  /** Renames canonical tensors as transformers' modules are named; experts fused or one by one. */
  function renamed(tensors: Map<string, TensorToWrite>, fused: boolean): TensorToWrite[] {
    const table = new Map(TO_TRANSFORMERS);
    const out: TensorToWrite[] = [];
    for (const tensor of tensors.values()) {
      const layer = /^layers\.(\d+)\./.exec(tensor.name)?.[1] ?? '';
      const expert = /\.experts\.(\d+)\.(w\d)\.weight$/.exec(tensor.name);
      if (expert && fused) continue;
      const projection = { w1: 'gate_proj', w2: 'down_proj', w3: 'up_proj' }[expert?.[2] ?? ''];
      const name = expert
        ? `model.layers.${layer}.mlp.experts.${expert[1]}.${projection}.weight`
        : table.get(tensor.name.replace(/^layers\.\d+\./, 'layers.N.'))!.replace('.N.', `.${layer}.`);
      out.push({ ...tensor, name });
    }
    for (let layer = 0; fused && layer < 3; layer++) {
      const matrix = (e: number, w: string) =>
        dataOf(tensors.get(`layers.${layer}.ffn.experts.${e}.${w}.weight`)) as Uint16Array;
      const join = (parts: Uint16Array[]): Uint16Array => Uint16Array.from(parts.flatMap((p) => [...p]));
      const p = `model.layers.${layer}.mlp.experts`;
      const gateUp = join([0, 1, 2].flatMap((e) => [matrix(e, 'w1'), matrix(e, 'w3')]));
      const dtype = tensors.get('embed.weight')!.dtype;
      out.push({ name: `${p}.gate_up_proj`, dtype, shape: [3, 32, 32], data: gateUp });
      out.push({
        name: `${p}.down_proj`,
        dtype,
        shape: [3, 32, 16],
        data: join([0, 1, 2].map((e) => matrix(e, 'w2'))),
      });
    }
    return out;
  }

  it.each<[SmallFormat, boolean]>([
    ['BF16', true],
    ['F16', true],
    ['BF16', false],
  ])('give the same model (%s, fused %s)', async (format, fused) => {
    const tensors = smallTensors(SMALL_CONFIG, format);
    const want = using(await writeModel(tensors.values()), readAll);
    expect(using(await writeModel(renamed(tensors, fused)), readAll)).toEqual(want);
  });

  it('fused experts must have the right shape', async () => {
    const tensors = renamed(smallTensors(), true).map((t) =>
      t.name === 'model.layers.1.mlp.experts.gate_up_proj' ? { ...t, shape: [3, 16, 64] } : t,
    );
    const dir = await writeModel(tensors);
    expect(thrown(() => openCheckpoint(dir), dir)).toBe(
      'ERR_CHECKPOINT: DIR/model.safetensors: tensor "model.layers.1.mlp.experts.gate_up_proj": expected BF16 or F32 or F16 [3, 32, 32], found BF16 [3, 16, 64]',
    );
  });

  it('both names of one tensor are an error', async () => {
    const tensors = smallTensors();
    tensors.set('x', { ...tensors.get('norm.weight')!, name: 'model.norm.weight' });
    const dir = await writeModel(tensors.values());
    expect(thrown(() => openCheckpoint(dir), dir)).toMatch(
      /^ERR_CHECKPOINT: DIR\/model.safetensors: tensor ".*norm.weight": is the same as .* in DIR\/model.safetensors: both mean norm.weight$/,
    );
  });
});
