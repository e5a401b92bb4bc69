import { closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError, decodeBf16, decodeF16 } from '@megamoe/core';
import fc from 'fast-check';
import { repositoryFile } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import type { Checkpoint, TensorToWrite } from '../src/index';
import { formatSummary, matrixToFloat32, openCheckpoint } from '../src/index';
import { modelSlots } from '../src/tensors/layout';
import type { SmallFormat } from './helpers';
import { dataOf, readAll, SMALL_CONFIG, smallTensors, thrown, using, writeModel } from './helpers';

describe('what is written is read', () => {
  it.each<SmallFormat>(['F32', 'BF16', 'F16', 'nvfp4'])('%s', async (format) => {
    const tensors = smallTensors(SMALL_CONFIG, format);
    using(await writeModel(tensors.values()), (checkpoint) => {
      expect(checkpoint.warnings).toEqual(
        format === 'nvfp4' ? [expect.stringMatching(/^no quantization_config, but 27 modules are quantized/)] : [],
      );
      const wq = checkpoint.linear('layers.1.attn.indexer.wq_b', 16, 16);
      const stored = dataOf(tensors.get('layers.1.attn.indexer.wq_b.weight'));
      if (format === 'F32') expect(wq).toEqual({ format: 'f32', n: 16, k: 16, data: stored });
      else if (format === 'F16')
        expect(wq).toEqual({ format: 'f32', n: 16, k: 16, data: Float32Array.from(stored as Uint16Array, decodeF16) });
      else expect(wq).toEqual({ format: 'bf16', n: 16, k: 16, data: stored });
      const p = 'layers.2.ffn.experts.1.w2';
      const expert = checkpoint.expert(2, 1, 'w2');
      if (format === 'nvfp4') {
        expect(expert).toEqual({
          format: 'nvfp4',
          n: 32,
          k: 16,
          codes: dataOf(tensors.get(`${p}.weight`)),
          sf: dataOf(tensors.get(`${p}.weight_scale`)),
          weightGlobalDecodeScale: (dataOf(tensors.get(`${p}.weight_scale_2`)) as Float32Array)[0],
          inputGlobalDecodeScale: (dataOf(tensors.get(`${p}.input_scale`)) as Float32Array)[0],
        });
      } else expect(expert.format).toBe(format === 'BF16' ? 'bf16' : 'f32');
      expect(checkpoint.vector('layers.0.hc_attn_fn', 24 * 128)).toEqual(dataOf(tensors.get('layers.0.hc_attn_fn')));
      const ids = dataOf(tensors.get('layers.0.ffn.gate.tid2eid')) as BigInt64Array;
      expect(checkpoint.ints('layers.0.ffn.gate.tid2eid', [24, 2])).toEqual(Int32Array.from(ids, Number));
      expect(readAll(checkpoint).size).toBe([...modelSlots(checkpoint.config)].length);
      expect(checkpoint.modules.size).toBe(2 + 3 * (5 + 1 + 3 + 9) + 2 + 2 + 2 + 2);
    });
  });

  it('the same from shards', async () => {
    const tensors = [...smallTensors().values()];
    const whole = using(await writeModel(tensors), readAll);
    expect(using(await writeModel(tensors, SMALL_CONFIG, 4000), readAll)).toEqual(whole);
  });

  it('the same when vectors are BF16 and tables I32', async () => {
    const tensors = smallTensors();
    const norm = Uint16Array.from({ length: 32 }, (_, i) => 0x3f00 + i);
    tensors.set('norm.weight', { name: 'norm.weight', dtype: 'BF16', shape: [32], data: norm });
    const name = 'layers.0.ffn.gate.tid2eid';
    tensors.set(name, { name, dtype: 'I32', shape: [24, 2], data: new Int32Array(48).fill(2) });
    using(await writeModel(tensors.values()), (checkpoint) => {
      expect(checkpoint.vector('norm.weight', 32)).toEqual(Float32Array.from(norm, decodeBf16));
      expect(checkpoint.readF32('norm.weight', [32])).toEqual(Float32Array.from(norm, decodeBf16));
      expect(checkpoint.ints(name, [24, 2])).toEqual(new Int32Array(48).fill(2));
      expect(checkpoint.read('norm.weight')).toEqual(new Uint8Array(norm.buffer));
    });
  });

  it.each(['tiny', 'micro-flash'])('models/%s reads in full, without warnings', (model) => {
    using(repositoryFile(`models/${model}`), (checkpoint) => {
      expect(readAll(checkpoint).size).toBe([...modelSlots(checkpoint.config)].length);
      expect(checkpoint.warnings).toEqual([]);
      expect(checkpoint.expert(3, 1, 'w3').format).toBe(model === 'tiny' ? 'nvfp4' : 'f32');
      expect(checkpoint.draft.layers).toBe(model === 'tiny' ? 1 : 0);
    });
  });
});

/** Opens a model with some tensors replaced (by name), added or, with null, left out. */
async function altered(
  changes: Record<string, Omit<TensorToWrite, 'name'> | null>,
  format: SmallFormat = 'BF16',
  config: Record<string, unknown> = SMALL_CONFIG,
): Promise<string> {
  const tensors = smallTensors(config, format);
  for (const [name, change] of Object.entries(changes)) {
    if (change) tensors.set(name, { ...change, name });
    else tensors.delete(name);
  }
  return await writeModel(tensors.values(), config);
}

const f32 = (shape: number[], ...values: number[]): Omit<TensorToWrite, 'name'> => ({
  dtype: 'F32',
  shape,
  data: Float32Array.from(values),
});
const u8 = (shape: number[], dtype: TensorToWrite['dtype'] = 'U8'): Omit<TensorToWrite, 'name'> => ({
  dtype,
  shape,
  data: new Uint8Array(shape.reduce((a, b) => a * b, 1)).fill(0x38),
});
const E = 'layers.1.ffn.experts.2.w1';
const FILE = 'DIR/model.safetensors';

it('models/tiny: its prediction layer is there, in the formats that it is published in, and no part of the model', () => {
  using(repositoryFile('models/tiny'), ({ config, draft, modules, tensors }) => {
    expect(config.compressRatios).toEqual([0, 128, 4, 128, 4, 128]); // the seventh of config.json is the prediction layer's
    expect(draft.tensors.size).toBe([...tensors.keys()].filter((name) => name.startsWith('mtp.0.')).length);
    expect(draft.tensors.size).toBe(125);
    const counts = new Map<string, number>();
    for (const { format } of draft.modules.values()) counts.set(format, (counts.get(format) ?? 0) + 1);
    expect([...counts].sort()).toEqual([
      ['bf16', 5 + 1 + 3 + 2], // attention, router, shared expert, e_proj and h_proj
      ['mxfp4', 16 * 3],
    ]);
    expect(draft.modules.get('mtp.0.ffn.experts.3.w2')).toMatchObject({ n: 256, k: 128 });
    expect(formatSummary(modules, draft)).toMatch(/; draft layer \(mtp\) skipped$/);
  });
});

describe('opening refuses', () => {
  it.each<[string, Parameters<typeof altered>[0], SmallFormat, string]>([
    [
      'a missing tensor',
      { 'norm.weight': null, 'head.weight': null },
      'BF16',
      'DIR: tensors that config.json calls for are missing (2): "norm.weight", "head.weight"',
    ],
    [
      'an unknown tensor',
      { 'layers.0.attn.k_scale': f32([1], 1) },
      'BF16',
      `${FILE}: unknown tensors (1): "layers.0.attn.k_scale"`,
    ],
    [
      'a renamed tensor',
      { 'norm.weight': null, 'final_norm.weight': f32([1], 1) },
      'BF16',
      'DIR: tensors that config.json calls for are missing (1): "norm.weight"; unknown tensors (1): "final_norm.weight"',
    ],
    [
      'a wrong shape',
      { 'norm.weight': f32([2], 1, 2) },
      'BF16',
      `${FILE}: tensor "norm.weight": expected F32 or BF16 or F16 [32], found F32 [2]`,
    ],
    [
      'a transposed matrix',
      { 'layers.0.attn.wo_b.weight': { ...u8([16, 64]), dtype: 'BF16', shape: [16, 32] } },
      'BF16',
      `${FILE}: tensor "layers.0.attn.wo_b.weight": expected BF16 [32, 16], found BF16 [16, 32]`,
    ],
    [
      'a wrong dtype',
      { 'norm.weight': { dtype: 'F64', shape: [32], data: new Float64Array(32) } },
      'BF16',
      `${FILE}: tensor "norm.weight": expected F32 or BF16 or F16 [32], found F64 [32]`,
    ],
    [
      'a table of floats',
      { 'layers.0.ffn.gate.tid2eid': { dtype: 'F32', shape: [24, 2], data: new Float32Array(48) } },
      'BF16',
      `${FILE}: tensor "layers.0.ffn.gate.tid2eid": expected I64 or I32 [24, 2], found F32 [24, 2]`,
    ],
    [
      'a matrix of doubles',
      { 'head.weight': { dtype: 'F64', shape: [24, 32], data: new Float64Array(768) } },
      'BF16',
      `${FILE}: tensor "head.weight": expected BF16, F32, F16, F8_E4M3 [24, 32], I8 (MXFP4) or U8 (NVFP4), found F64 [24, 32]`,
    ],
    [
      'scales beside BF16',
      { 'head.weight_scale': f32([1], 1) },
      'BF16',
      `${FILE}: tensor "head.weight_scale": does not belong beside a BF16 weight (head.weight)`,
    ],
    [
      'scales without a matrix',
      { 'head.weight': null, 'head.weight_scale': f32([1], 1) },
      'BF16',
      'DIR: tensors that config.json calls for are missing (1): "head.weight"',
    ],
    [
      'NVFP4 without block scales',
      { [`${E}.weight_scale`]: null },
      'nvfp4',
      `${FILE}: tensor "${E}.weight": U8 weight without ${E}.weight_scale: expected weight, weight_scale and weight_scale_2 (NVFP4), found "weight_scale_2", "input_scale" beside it`,
    ],
    [
      'NVFP4 without a global scale',
      { [`${E}.weight_scale_2`]: null },
      'nvfp4',
      `${FILE}: tensor "${E}.weight": U8 weight without ${E}.weight_scale_2: expected weight, weight_scale and weight_scale_2 (NVFP4), found "weight_scale", "input_scale" beside it`,
    ],
    [
      'NVFP4 codes of a wrong shape',
      { [`${E}.weight`]: u8([16, 32]) },
      'nvfp4',
      `${FILE}: tensor "${E}.weight": expected U8 [16, 16], found U8 [16, 32]`,
    ],
    [
      'block scales of a wrong shape',
      { [`${E}.weight_scale`]: u8([16, 1], 'F8_E4M3') },
      'nvfp4',
      `${FILE}: tensor "${E}.weight_scale": expected F8_E4M3 [16, 2], found F8_E4M3 [16, 1]`,
    ],
    [
      'block scales of a wrong dtype',
      { [`${E}.weight_scale`]: u8([16, 2]) },
      'nvfp4',
      `${FILE}: tensor "${E}.weight_scale": expected F8_E4M3 [16, 2], found U8 [16, 2]`,
    ],
    [
      'a global scale per row',
      { [`${E}.weight_scale_2`]: f32([2], 1, 1) },
      'nvfp4',
      `${FILE}: tensor "${E}.weight_scale_2": expected F32 [] or [1], found F32 [2]`,
    ],
    [
      'an input scale per row',
      { [`${E}.input_scale`]: f32([2], 1, 1) },
      'nvfp4',
      `${FILE}: tensor "${E}.input_scale": expected F32 [] or [1], found F32 [2]`,
    ],
  ])('%s', async (_, changes, format, message) => {
    const dir = await altered(changes, format);
    expect(thrown(() => openCheckpoint(dir), dir)).toBe(`ERR_CHECKPOINT: ${message}`);
  });

  it('NVFP4 of a width that has no whole blocks', async () => {
    const config = { ...SMALL_CONFIG, moe_intermediate_size: 8 };
    const dir = await altered({ 'layers.0.ffn.experts.0.w2.weight': u8([32, 4]) }, 'BF16', config);
    expect(thrown(() => openCheckpoint(dir), dir)).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "layers.0.ffn.experts.0.w2.weight": NVFP4 needs a width that is a multiple of 16, this is [32, 8]`,
    );
  });

  it('a config of a far larger model, soon', async () => {
    const dir = await writeModel(smallTensors().values(), {
      ...SMALL_CONFIG,
      num_hidden_layers: 9000,
      compress_ratios: new Array<number>(9000).fill(0),
      n_routed_experts: 65536,
    });
    expect(thrown(() => openCheckpoint(dir), dir)).toMatch(
      /expected BF16 \[65536, 32\]|^ERR_CHECKPOINT: DIR: tensors that config.json calls for are missing \(1000 or more\)/,
    );
  });

  it('takes from generation_config.json the ids that config.json leaves open', async () => {
    const open = async (config: object, generation: object) => {
      const dir = await writeModel(smallTensors().values(), { ...SMALL_CONFIG, ...config });
      writeFileSync(join(dir, 'generation_config.json'), JSON.stringify(generation));
      return using(dir, ({ config: { bosTokenId, eosTokenIds }, warnings }) => [bosTokenId, eosTokenIds, warnings]);
    };
    const generation = { bos_token_id: 5, eos_token_id: [6, 7], top_k: -1 };
    expect(await open({ bos_token_id: null, eos_token_id: null }, generation)).toEqual([5, [6, 7], []]);
    expect(await open({ bos_token_id: null, eos_token_id: null }, {})).toEqual([0, [1], []]);
    expect(await open({ eos_token_id: 2 }, generation)).toEqual([0, [2], []]);
    expect(await open({}, { temperature: -1 })).toEqual([
      0,
      [1],
      [expect.stringMatching(/^generation_config.json: temperature: .*; it counts as absent$/)],
    ]);
  });

  it('a damaged generation config, index or config', async () => {
    for (const [file, message] of [
      ['config.json', /config.json: cannot be read as JSON/],
      ['generation_config.json', /generation_config.json: cannot be read as JSON/],
      ['hf_quant_config.json', /hf_quant_config.json: cannot be read as JSON/],
      ['model.safetensors', /model.safetensors: /],
    ] as const) {
      const dir = await writeModel(smallTensors().values());
      writeFileSync(join(dir, file), '{"');
      expect(thrown(() => openCheckpoint(dir), dir)).toMatch(message);
    }
    const dir = await writeModel(smallTensors().values());
    rmSync(join(dir, 'model.safetensors'));
    expect(thrown(() => openCheckpoint(dir), dir)).toMatch(/no checkpoint here/);
  });
});

it('a model with any byte of its header changed opens as it was or is refused', async () => {
  const dir = await writeModel(smallTensors().values());
  const path = join(dir, 'model.safetensors');
  const original = readFileSync(path);
  const headerBytes = Number(original.readBigUInt64LE());
  const fd = openSync(path, 'r+');
  let refused = 0;
  fc.assert(
    fc.property(fc.nat(headerBytes + 7), fc.nat(255), (at, byte) => {
      writeSync(fd, Uint8Array.of(byte), 0, 1, at);
      try {
        using(dir, (c) => expect(c.modules.size).toBe(64));
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        refused++;
      } finally {
        writeSync(fd, original, at, 1, at);
      }
    }),
    { numRuns: 400 },
  );
  closeSync(fd);
  expect(refused).toBeGreaterThan(300);
});

describe('reading refuses', () => {
  const reading = async (
    changes: Parameters<typeof altered>[0],
    f: (c: Checkpoint) => unknown,
    format: SmallFormat = 'nvfp4',
  ): Promise<string> => {
    const dir = await altered(changes, format);
    return using(dir, (checkpoint) => thrown(() => f(checkpoint), dir));
  };
  const expert = (c: Checkpoint): unknown => c.expert(1, 2, 'w1');
  const sf = (at: number, byte: number): Omit<TensorToWrite, 'name'> => {
    const data = new Uint8Array(32).fill(0x38);
    data[at] = byte;
    return { dtype: 'F8_E4M3', shape: [16, 2], data };
  };

  it.each<[Parameters<typeof altered>[0], string]>([
    [{ [`${E}.weight_scale`]: sf(5, 0x7f) }, `tensor "${E}.weight_scale": block scale at row 2, block 1 is NaN (0x7f)`],
    [
      { [`${E}.weight_scale`]: sf(31, 0xff) },
      `tensor "${E}.weight_scale": block scale at row 15, block 1 is NaN (0xff)`,
    ],
    [
      { [`${E}.weight_scale`]: sf(4, 0xb8) },
      `tensor "${E}.weight_scale": block scale at row 2, block 0: expected above 0, found -1 (0xb8)`,
    ],
    [
      { [`${E}.weight_scale_2`]: f32([], 0) },
      `tensor "${E}.weight_scale_2": expected a finite number above 0, found 0`,
    ],
    [
      { [`${E}.weight_scale_2`]: f32([1], NaN) },
      `tensor "${E}.weight_scale_2": expected a finite number above 0, found NaN`,
    ],
    [
      { [`${E}.weight_scale_2`]: f32([], -1) },
      `tensor "${E}.weight_scale_2": expected a finite number above 0, found -1`,
    ],
    [
      { [`${E}.weight_scale_2`]: f32([], Infinity) },
      `tensor "${E}.weight_scale_2": expected a finite number above 0, found Infinity`,
    ],
    [{ [`${E}.input_scale`]: f32([], NaN) }, `tensor "${E}.input_scale": expected a finite number above 0, found NaN`],
    [{ [`${E}.input_scale`]: f32([], -2) }, `tensor "${E}.input_scale": expected a finite number above 0, found -2`],
  ])('bad scales %#', async (changes, message) => {
    expect(await reading(changes, expert)).toBe(`ERR_CHECKPOINT: ${FILE}: ${message}`);
  });

  it('but not a zero scale over zero codes', async () => {
    const codes = u8([16, 16]);
    (codes.data as Uint8Array).fill(0x80, 32, 40); // -0 is zero too
    expect(await reading({ [`${E}.weight_scale`]: sf(4, 0), [`${E}.weight`]: codes }, expert)).toBe('nothing');
  });

  it('NaN and infinity in weights and vectors, but not infinite sinks and router biases', async () => {
    const bits = new Uint16Array(24 * 32);
    bits[70] = 0xff80;
    const head = { dtype: 'BF16', shape: [24, 32], data: bits } as const;
    expect(await reading({ 'head.weight': head }, (c) => c.linear('head', 24, 32))).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "head.weight": expected finite weights, found NaN or infinity at row 2, column 6`,
    );
    const floats = new Float32Array(24 * 32);
    floats[767] = NaN;
    expect(
      await reading({ 'head.weight': { dtype: 'F32', shape: [24, 32], data: floats } }, (c) =>
        c.linear('head', 24, 32),
      ),
    ).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "head.weight": expected finite weights, found NaN or infinity at row 23, column 31`,
    );
    const sink = 'layers.0.attn.attn_sink';
    expect(await reading({ [sink]: f32([4], 0, 1, NaN, 2) }, (c) => c.vector(sink, 4))).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "${sink}": found NaN at index 2`,
    );
    expect(await reading({ [sink]: f32([4], 0, -Infinity, Infinity, 2) }, (c) => c.vector(sink, 4))).toBe('nothing');
    const norm = 'norm.weight';
    for (const value of [Infinity, -Infinity]) {
      const data = new Float32Array(32).fill(1);
      data[5] = value;
      expect(await reading({ [norm]: { dtype: 'F32', shape: [32], data } }, (c) => c.vector(norm, 32))).toBe(
        `ERR_CHECKPOINT: ${FILE}: tensor "${norm}": expected finite values, found ${value} at index 5`,
      );
    }
  });

  it('expert ids that are none', async () => {
    const name = 'layers.0.ffn.gate.tid2eid';
    const table = (...at: [number, bigint]): Omit<TensorToWrite, 'name'> => {
      const data = new BigInt64Array(48);
      data[at[0]] = at[1];
      return { dtype: 'I64', shape: [24, 2], data };
    };
    const read = (c: Checkpoint): unknown => c.ints(name, [24, 2]);
    expect(await reading({ [name]: table(47, 3n) }, read)).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "${name}": expected expert ids in [0, 3), found 3 at index 47`,
    );
    expect(await reading({ [name]: table(0, -1n) }, read)).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "${name}": expected expert ids in [0, 3), found -1 at index 0`,
    );
    for (const big of [2n ** 31n, -(2n ** 31n) - 1n, 2n ** 62n, 2n ** 32n]) {
      expect(await reading({ [name]: table(9, big) }, read)).toBe(
        `ERR_CHECKPOINT: ${FILE}: tensor "${name}": expected values of 32 bits, found ${big} at index 9`,
      );
    }
  });

  it('wrong names and shapes', async () => {
    const dir = await writeModel(smallTensors().values());
    using(dir, (c) => {
      const say = (f: () => unknown): string => thrown(f, dir).replace('ERR_CHECKPOINT: ', '');
      expect(say(() => c.linear('layers.0.attn.wq_a', 16, 16))).toBe(
        `${FILE}: tensor "layers.0.attn.wq_a.weight": expected [16, 16], found [16, 32]`,
      );
      expect(say(() => c.linear('layers.0.attn.x', 1, 1))).toBe(
        'DIR: tensor "layers.0.attn.x": config.json calls for no such module',
      );
      expect(say(() => c.expert(0, 3, 'w1'))).toBe(
        'DIR: tensor "layers.0.ffn.experts.3.w1": config.json calls for no such module',
      );
      expect(say(() => c.expert(0.5, 0, 'w1'))).toBe(
        'DIR: tensor "layers.0.5.ffn.experts.0.w1": config.json calls for no such module',
      );
      expect(say(() => c.vector('norm.weight', 31))).toBe(
        `${FILE}: tensor "norm.weight": expected 31 elements, found F32 [32]`,
      );
      expect(say(() => c.vector('head.weight', 1))).toBe(
        'DIR: tensor "head.weight": config.json calls for no such tensor',
      );
      expect(say(() => c.ints('layers.0.ffn.gate.tid2eid', [48]))).toBe(
        `${FILE}: tensor "layers.0.ffn.gate.tid2eid": expected shape [48], found I64 [24, 2]`,
      );
      expect(say(() => c.ints('norm.weight', [32]))).toBe(
        `${FILE}: tensor "norm.weight": expected I64 or I32, found F32 [32]`,
      );
      expect(say(() => c.vector('layers.0.ffn.gate.tid2eid', 48))).toBe(
        `${FILE}: tensor "layers.0.ffn.gate.tid2eid": expected F32, BF16, F16, found I64 [24, 2]`,
      );
      expect(say(() => c.readF32('x'))).toBe('DIR: tensor "x": no such tensor in this checkpoint');
      expect(say(() => c.readF32('norm.weight', [4, 8]))).toBe(
        `${FILE}: tensor "norm.weight": expected shape [4, 8], found F32 [32]`,
      );
      expect(say(() => c.read('x'))).toBe('DIR: tensor "x": no such tensor in this checkpoint');
      c.close();
      expect(say(() => c.vector('norm.weight', 32))).toBe(`${FILE}: tensor "norm.weight": the file has been closed`);
    });
  });
});

describe('odd but right', () => {
  it('rotary buffers are skipped with a warning, draft layers are set apart without one', async () => {
    const dir = await altered({
      'mtp.0.norm.weight': f32([1], 1),
      'mtp.0.ffn.experts.3.w1.weight': { dtype: 'I8', shape: [2, 16], data: new Uint8Array(32) },
      'mtp.0.ffn.experts.3.w1.scale': { dtype: 'F8_E8M0', shape: [2, 1], data: Uint8Array.of(127, 126) },
      'mtp.0.ffn.experts.3.w2.weight': u8([2, 16]), // no format: its scales are not there
      'mtp.0.e_proj.weight': f32([1, 2], 1, 2),
      'model.mtp.1.self_attn.q_a_proj.weight': { dtype: 'BF16', shape: [2, 1], data: new Uint16Array(2) },
      'model.rotary_emb.main_inv_freq': f32([1], 1),
    });
    using(dir, (c) => {
      expect(c.warnings).toEqual([
        '"model.rotary_emb.main_inv_freq" skipped: rotary frequencies follow from config.json',
      ]);
      expect(c.draft.layers).toBe(2);
      expect(c.draft.tensors.size).toBe(6);
      expect([...c.draft.modules.values()].map((m) => [m.name, m.format, m.n, m.k]).sort()).toEqual([
        ['mtp.0.e_proj', 'f32', 1, 2],
        ['mtp.0.ffn.experts.3.w1', 'mxfp4', 2, 32],
        ['mtp.1.attn.wq_a', 'bf16', 2, 1],
      ]);
      expect(formatSummary(c.modules, c.draft)).toMatch(/; others \d+ bf16; 2 draft layers \(mtp\) skipped$/);
      expect(c.tensors.has('mtp.0.norm.weight')).toBe(true);
      expect([...c.modules.keys()].filter((name) => name.includes('mtp'))).toEqual([]);
    });
  });

  it('two draft tensors of one name are refused', async () => {
    const dir = await altered({ 'mtp.0.norm.weight': f32([1], 1), 'model.mtp.0.norm.weight': f32([1], 1) });
    expect(thrown(() => openCheckpoint(dir), dir)).toMatch(/both mean mtp\.0\.norm\.weight$/);
  });

  describe('a head beside tie_word_embeddings', () => {
    const config = { ...SMALL_CONFIG, tie_word_embeddings: true };
    const embed = smallTensors(SMALL_CONFIG, 'BF16').get('embed.weight')!;

    it('is the embedding when it is a copy of it, or not stored', async () => {
      for (const head of [null, { ...embed }]) {
        using(await altered({ 'head.weight': head }, 'BF16', config), (c) => {
          expect(c.linear('head', 24, 32)).toEqual(c.linear('embed', 24, 32));
          expect([c.config.tieWordEmbeddings, c.modules.has('head'), c.warnings]).toEqual([true, false, []]);
        });
      }
    });

    it('is the stored one when that differs, in its last bit, or in its format', async () => {
      const bits = Uint16Array.from(dataOf(embed) as Uint16Array);
      bits[bits.length - 1]! ^= 1;
      for (const [name, head, format] of [
        ['head.weight', { dtype: 'BF16', shape: [24, 32], data: bits }, 'bf16'],
        ['head.weight', { dtype: 'F32', shape: [24, 32], data: new Float32Array(768) }, 'f32'],
        ['lm_head.weight', { dtype: 'F16', shape: [24, 32], data: bits }, 'f32'],
      ] as const) {
        using(await altered({ 'head.weight': null, [name]: head }, 'BF16', config), (c) => {
          expect(c.linear('head', 24, 32)).not.toEqual(c.linear('embed', 24, 32));
          expect(c.linear('head', 24, 32).format).toBe(format);
          expect(c.config.tieWordEmbeddings).toBe(false);
          expect(c.warnings).toEqual([
            `${join(c.dir, 'model.safetensors')}: tie_word_embeddings is true, but ${name} is stored and differs from embed.weight: the stored head is used`,
          ]);
        });
      }
    });
  });

  it('block scales that underflowed to 0, or are -0, make their blocks zeros, and are counted', async () => {
    const scales = Uint8Array.from({ length: 32 }, (_, i) => (i === 4 ? 0 : i === 9 ? 0x80 : i === 20 ? 0x80 : 0x38));
    const codes = new Uint8Array(256).fill(0x72);
    codes.fill(0x80, 20 * 8, 21 * 8); // zeros of either sign under the last of them
    const dir = await altered(
      {
        [`${E}.weight_scale`]: { dtype: 'F8_E4M3', shape: [16, 2], data: scales },
        [`${E}.weight`]: { dtype: 'U8', shape: [16, 16], data: codes },
      },
      'nvfp4',
    );
    using(dir, (c) => {
      for (let again = 0; again < 2; again++) {
        const t = c.expert(1, 2, 'w1');
        if (t.format !== 'nvfp4') throw new Error(t.format);
        expect(t.sf.filter((byte) => byte === 0)).toHaveLength(3);
        expect(t.sf.every((byte) => byte < 0x7f)).toBe(true);
        const values = matrixToFloat32(t);
        values.forEach((v, i) => expect(v === 0).toBe([4, 9, 20].includes(i >> 4)));
        expect(c.warnings.filter((w) => w.includes('zeros'))).toEqual([
          '2 block scales in 1 tensor are 0 over codes that are not: their blocks decode as zeros ("layers.1.ffn.experts.2.w1.weight_scale")',
        ]);
      }
    });
  });

  it.each([0, -0, 1e-45, 1e-40, 2 ** -126, 2 ** -118, Infinity])(
    'input scales of dead experts count as absent: %d',
    async (value) => {
      const names = [0, 1, 2].map((x) => `layers.0.ffn.experts.${x}.w1.input_scale`);
      const dir = await altered(Object.fromEntries(names.map((name) => [name, f32([], value)])), 'nvfp4');
      using(dir, (c) => {
        for (let again = 0; again < 2; again++) {
          for (const x of [0, 1, 2]) {
            expect(c.expertScales(0, x, 'w1')).not.toHaveProperty('inputGlobalDecodeScale');
            expect(c.expert(0, x, 'w1')).not.toHaveProperty('inputGlobalDecodeScale');
          }
        }
        expect(c.warnings.filter((w) => w.includes('absent'))).toEqual([
          `3 input_scale are 0, infinite or too small and count as absent: ${names.map((n) => `"${n}"`).join(', ')}`,
        ]);
        expect(c.expert(0, 0, 'w2')).toHaveProperty('inputGlobalDecodeScale');
      });
    },
  );

  it('experts without input scales, or with zero, are told and read without', async () => {
    const dir = await altered(
      { [`${E}.input_scale`]: null, 'layers.0.ffn.experts.0.w1.input_scale': f32([1], 0) },
      'nvfp4',
    );
    using(dir, (c) => {
      expect(c.warnings).toContain(`1 of 27 NVFP4 modules have no input_scale: "${E}"`);
      const before = c.warnings.length;
      expect(c.expert(1, 2, 'w1')).not.toHaveProperty('inputGlobalDecodeScale');
      expect(c.expert(0, 0, 'w1')).not.toHaveProperty('inputGlobalDecodeScale');
      c.expert(0, 0, 'w1');
      expect(c.warnings.slice(before)).toEqual([
        `${join(dir, 'model.safetensors')}: tensor "layers.0.ffn.experts.0.w1.input_scale" is 0 and counts as absent`,
      ]);
    });
  });
});
