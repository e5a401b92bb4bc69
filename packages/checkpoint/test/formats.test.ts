import { decodeBf16Array, encodeBf16Array } from '@megamoe/core';
import {
  dequantizeCompressedTensors,
  dequantizeFp8,
  dequantizeMxfp4,
  dequantizeNvfp4,
  nvfp4GlobalDecodeScale,
  quantizeCompressedTensors,
  quantizeFp8,
  quantizeMxfp4,
  quantizeNvfp4,
} from '@megamoe/reference';
import { expectBytes, expectClose } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { formatSummary, formatTable, matrixRows, matrixToFloat32, openCheckpoint } from '../src/index';
import { CONFIG, E, FILE, scalar, tensor, values, W, written, type Change } from './format-models';
import { thrown, using } from './helpers';

/** Writes a module in each format: its tensors, what must be read, and the manifest's word for it. */
const FORMATS: Record<
  string,
  (name: string, n: number, k: number) => { tensors: Record<string, Change>; values: Float64Array; format: string }
> = {
  'fp8, E8M0': (name, n, k) => {
    const q = quantizeFp8(values(n, k), { n, k }, 'e8m0');
    const shape = [Math.ceil(n / 128), Math.ceil(k / 128)];
    return {
      tensors: {
        [`${name}.weight`]: tensor('F8_E4M3', [n, k], q.codes),
        [`${name}.scale`]: tensor('F8_E8M0', shape, q.e8m0!),
      },
      values: dequantizeFp8(q, { n, k }),
      format: 'fp8',
    };
  },
  'fp8, F32, weight_scale_inv': (name, n, k) => {
    const q = quantizeFp8(values(n, k), { n, k }, 'f32');
    const shape = [Math.ceil(n / 128), Math.ceil(k / 128)];
    return {
      tensors: {
        [`${name}.weight`]: tensor('F8_E4M3', [n, k], q.codes),
        [`${name}.weight_scale_inv`]: tensor('F32', shape, q.scales),
      },
      values: dequantizeFp8(q, { n, k }),
      format: 'fp8',
    };
  },
  ...Object.fromEntries(
    (['weight_scale', 'weight_scale_inv', 'scale'] as const).map((key) => [
      `fp8, BF16, ${key}`,
      (name: string, n: number, k: number) => {
        const q = quantizeFp8(values(n, k), { n, k }, 'f32');
        const scales = encodeBf16Array(q.scales);
        return {
          tensors: {
            [`${name}.weight`]: tensor('F8_E4M3', [n, k], q.codes),
            [`${name}.${key}`]: tensor('BF16', [Math.ceil(n / 128), Math.ceil(k / 128)], scales),
          },
          values: dequantizeFp8({ ...q, scales: decodeBf16Array(scales) }, { n, k }),
          format: 'fp8',
        };
      },
    ]),
  ),
  ...Object.fromEntries(
    (
      [
        ['compressed-tensors', 'weight_packed', 'weight_scale', 'U8'],
        ['compressed-tensors, F8_E8M0', 'weight_packed', 'weight_scale', 'F8_E8M0'],
        ['Quark', 'weight', 'weight_scale', 'U8'],
        ['U8 scale', 'weight', 'scale', 'U8'],
      ] as const
    ).map(([writer, weight, scale, dtype]) => [
      `mxfp4 of ${writer}`,
      (name: string, n: number, k: number) => {
        const q = quantizeMxfp4(values(n, k), { n, k });
        return {
          tensors: {
            [`${name}.weight`]: null,
            [`${name}.${weight}`]: tensor('U8', [n, k / 2], q.codes),
            [`${name}.${scale}`]: tensor(dtype, [n, k / 32], q.e8m0),
            ...(weight === 'weight_packed'
              ? { [`${name}.weight_shape`]: tensor('I64', [2], BigInt64Array.of(BigInt(n), BigInt(k))) }
              : {}),
          },
          values: dequantizeMxfp4(q, { n, k }),
          format: 'mxfp4',
        };
      },
    ]),
  ),
  'mxfp4, I8': (name, n, k) => {
    const q = quantizeMxfp4(values(n, k), { n, k });
    return {
      tensors: {
        [`${name}.weight`]: tensor('I8', [n, k / 2], q.codes),
        [`${name}.scale`]: tensor('F8_E8M0', [n, k / 32], q.e8m0),
      },
      values: dequantizeMxfp4(q, { n, k }),
      format: 'mxfp4',
    };
  },
  'mxfp4, U8': (name, n, k) => {
    const q = quantizeMxfp4(values(n, k), { n, k });
    return {
      tensors: {
        [`${name}.weight`]: tensor('U8', [n, k / 2], q.codes),
        [`${name}.scale`]: tensor('F8_E8M0', [n, k / 32], q.e8m0),
      },
      values: dequantizeMxfp4(q, { n, k }),
      format: 'mxfp4',
    };
  },
  modelopt: (name, n, k) => {
    const x = values(n, k);
    const globalDecodeScale = nvfp4GlobalDecodeScale(x);
    const q = quantizeNvfp4(x, { m: n, k, globalDecodeScale });
    return {
      tensors: {
        [`${name}.weight`]: tensor('U8', [n, k / 2], q.codes),
        [`${name}.weight_scale`]: tensor('F8_E4M3', [n, k / 16], q.sf),
        [`${name}.weight_scale_2`]: scalar(globalDecodeScale),
        [`${name}.input_scale`]: scalar(0.003),
      },
      values: dequantizeNvfp4(q, { m: n, k, globalDecodeScale }),
      format: 'nvfp4 (modelopt)',
    };
  },
  'compressed-tensors': (name, n, k) => {
    const q = quantizeCompressedTensors(values(n, k), { n, k });
    return {
      tensors: {
        [`${name}.weight`]: null,
        [`${name}.weight_packed`]: tensor('U8', [n, k / 2], q.codes),
        [`${name}.weight_scale`]: tensor('F8_E4M3', [n, k / 16], q.sf),
        [`${name}.weight_global_scale`]: scalar(q.globalEncodeScale, [1]),
        [`${name}.input_global_scale`]: scalar(300, [1]),
      },
      values: dequantizeCompressedTensors(q, { n, k }),
      format: 'nvfp4 (compressed-tensors)',
    };
  },
};

describe.each(Object.entries(FORMATS))('%s', (name, make) => {
  const exact = name !== 'fp8, F32, weight_scale_inv' && name !== 'modelopt' && name !== 'compressed-tensors';

  it('a dense matrix reads as it was written, whole and by rows', async () => {
    const { tensors, values: want, format } = make(W, 320, 288);
    using(await written(tensors), (c) => {
      expect(formatTable(c.modules).find((r) => r.module === 'layers.*.attn.wq_a' && r.count === 1)).toMatchObject({
        format,
      });
      const whole = c.linear(W, 320, 288);
      const got = matrixToFloat32(whole);
      if (exact) expectBytes(got, Float32Array.from(want), [320, 288]);
      // Scale times global scale is rounded, then the product: three half units of float32.
      else expectClose(got, want, { maxAbs: 2 ** -22 * Math.max(...want.map(Math.abs)), shape: [320, 288] });
      for (const [row0, rows] of [
        [0, 320],
        [127, 3],
        [130, 190],
        [319, 1],
        [5, 0],
      ] as const) {
        const part = c.linearRows(W, 320, 288, row0, rows);
        expect([part.format, part.n, part.k]).toEqual([whole.format, rows, 288]);
        expectBytes(matrixToFloat32(part), got.subarray(row0 * 288, (row0 + rows) * 288));
        expect(matrixRows(whole, row0, rows)).toEqual(part);
      }
      if (whole.format === 'nvfp4') {
        expect(whole.inputGlobalDecodeScale).toBe(Math.fround(name === 'modelopt' ? 0.003 : 1 / 300));
      }
    });
  });

  it('an expert reads as it was written', async () => {
    const { tensors, values: want } = make(E, 160, 288);
    using(await written(tensors), (c) => {
      const got = c.expert(1, 2, 'w1');
      expectClose(matrixToFloat32(got), want, { maxAbs: exact ? 0 : 2 ** -22 * Math.max(...want.map(Math.abs)) });
      expect(c.expertE8m0(1, 2, 'w1')).toEqual(got.format === 'mxfp4' ? got.e8m0 : undefined);
      expect(c.expert(1, 2, 'w3').format).toBe('bf16');
      expect(formatSummary(c.modules)).toMatch(/^routed experts 26 bf16, 1 |^routed experts \d+ bf16, 1 /);
    });
  });
});

describe('experts that transformers fused', () => {
  const [e, i, d] = [3, 160, 288];
  const P = 'model.layers.1.mlp.experts';
  /** The tensors of layer 1's experts in one piece each, other names as they are. */
  async function fused(gateUp: Record<string, Change>, down: Record<string, Change>): Promise<string> {
    const gone = Object.fromEntries(
      [0, 1, 2].flatMap((x) => ['w1', 'w2', 'w3'].map((m) => [`layers.1.ffn.experts.${x}.${m}.weight`, null])),
    );
    return written({ ...gone, ...gateUp, ...down });
  }
  const concat = (parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((p) => [...p]));

  it.each(['F32', 'F8_E8M0'] as const)('FP8 with %s scales', async (dtype) => {
    const make = (n: number, k: number, seed: number) => {
      const all = [0, 1, 2].map((x) => quantizeFp8(values(n, k, seed + x), { n, k }, dtype === 'F32' ? 'f32' : 'e8m0'));
      const shape = [e, Math.ceil(n / 128), Math.ceil(k / 128)];
      const scales =
        dtype === 'F32' ? Float32Array.from(all.flatMap((q) => [...q.scales])) : concat(all.map((q) => q.e8m0!));
      return {
        codes: concat(all.map((q) => q.codes)),
        scale: tensor(dtype, shape, scales),
        want: all.map((q) => dequantizeFp8(q, { n, k })),
      };
    };
    const [up, down] = [make(2 * i, d, 1), make(d, i, 9)];
    const dir = await fused(
      { [`${P}.gate_up_proj`]: tensor('F8_E4M3', [e, 2 * i, d], up.codes), [`${P}.gate_up_proj_scale_inv`]: up.scale },
      { [`${P}.down_proj`]: tensor('F8_E4M3', [e, d, i], down.codes), [`${P}.down_proj_scale_inv`]: down.scale },
    );
    using(dir, (c) => {
      for (let x = 0; x < e; x++) {
        expectBytes(matrixToFloat32(c.expert(1, x, 'w1')), Float32Array.from(up.want[x]!.subarray(0, i * d)));
        expectBytes(matrixToFloat32(c.expert(1, x, 'w3')), Float32Array.from(up.want[x]!.subarray(i * d)));
        expectBytes(matrixToFloat32(c.expert(1, x, 'w2')), Float32Array.from(down.want[x]!));
      }
    });
  });

  it('MXFP4', async () => {
    const make = (n: number, k: number, seed: number) => {
      const all = [0, 1, 2].map((x) => quantizeMxfp4(values(n, k, seed + x), { n, k }));
      return {
        codes: concat(all.map((q) => q.codes)),
        scale: tensor('F8_E8M0', [e, n, k / 32], concat(all.map((q) => q.e8m0))),
        want: all.map((q) => dequantizeMxfp4(q, { n, k })),
      };
    };
    const [up, down] = [make(2 * i, d, 1), make(d, i, 9)];
    const dir = await fused(
      { [`${P}.gate_up_proj`]: tensor('I8', [e, 2 * i, d / 2], up.codes), [`${P}.gate_up_proj_scale_inv`]: up.scale },
      { [`${P}.down_proj`]: tensor('I8', [e, d, i / 2], down.codes), [`${P}.down_proj_scale_inv`]: down.scale },
    );
    using(dir, (c) => {
      for (let x = 0; x < e; x++) {
        expectBytes(matrixToFloat32(c.expert(1, x, 'w1')), Float32Array.from(up.want[x]!.subarray(0, i * d)));
        expectBytes(matrixToFloat32(c.expert(1, x, 'w3')), Float32Array.from(up.want[x]!.subarray(i * d)));
        expectBytes(matrixToFloat32(c.expert(1, x, 'w2')), Float32Array.from(down.want[x]!));
      }
    });
  });

  it('FP8 without scales, or of a wrong shape, is refused', async () => {
    const codes = tensor('F8_E4M3', [e, 2 * i, d], new Uint8Array(e * 2 * i * d));
    const down = { [`${P}.down_proj`]: tensor('F32', [e, d, i], new Float32Array(e * d * i)) };
    const without = await fused({ [`${P}.gate_up_proj`]: codes }, down);
    expect(thrown(() => openCheckpoint(without), without)).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "${P}.gate_up_proj": F8_E4M3 weight without layers.1.ffn.experts.0.w1.scale: expected weight and scale (FP8, one scale for 128 x 128; or transformers' weight_scale_inv)`,
    );
    const wrong = await fused(
      { [`${P}.gate_up_proj`]: codes, [`${P}.gate_up_proj_scale_inv`]: tensor('F32', [e, 2, 3], new Float32Array(18)) },
      down,
    );
    expect(thrown(() => openCheckpoint(wrong), wrong)).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "${P}.gate_up_proj_scale_inv": expected F8_E8M0 or F32 or BF16 or F16 [3, 3, 3], found F32 [3, 2, 3]`,
    );
  });
});

describe('opening refuses', () => {
  const fp8 = tensor('F8_E4M3', [320, 288], new Uint8Array(320 * 288).fill(0x38));
  const mx = tensor('I8', [160, 144], new Uint8Array(160 * 144));
  const packed = tensor('U8', [320, 144], new Uint8Array(320 * 144));
  const sf = tensor('F8_E4M3', [320, 18], new Uint8Array(320 * 18).fill(0x38));
  it.each<[string, Record<string, Change>, string]>([
    [
      'FP8 without a scale',
      { [`${W}.weight`]: fp8 },
      `"${W}.weight": F8_E4M3 weight without ${W}.scale: expected weight and scale (FP8, one scale for 128 x 128; or transformers' weight_scale_inv)`,
    ],
    [
      'FP8 with a scale for the whole tensor',
      { [`${W}.weight`]: fp8, [`${W}.weight_scale`]: scalar(1) },
      `"${W}.weight": F8_E4M3 weight without ${W}.scale: expected weight and scale (FP8, one scale for 128 x 128; or transformers' weight_scale_inv), found "weight_scale" beside it`,
    ],
    [
      'FP8 scales of a wrong shape',
      { [`${W}.weight`]: fp8, [`${W}.scale`]: tensor('F8_E8M0', [3, 2], new Uint8Array(6)) },
      `"${W}.scale": expected F8_E8M0 or F32 or BF16 or F16 [3, 3], found F8_E8M0 [3, 2]`,
    ],
    [
      'FP8 scales of a wrong dtype',
      { [`${W}.weight`]: fp8, [`${W}.scale`]: tensor('U8', [3, 3], new Uint8Array(9)) },
      `"${W}.scale": expected F8_E8M0 or F32 or BF16 or F16 [3, 3], found U8 [3, 3]`,
    ],
    [
      'FP8 of a wrong shape',
      {
        [`${W}.weight`]: tensor('F8_E4M3', [288, 320], new Uint8Array(320 * 288)),
        [`${W}.scale`]: tensor('F8_E8M0', [3, 3], new Uint8Array(9)),
      },
      `"${W}.weight": expected F8_E4M3 [320, 288], found F8_E4M3 [288, 320]`,
    ],
    [
      'FP8 with NVFP4 scales too',
      {
        [`${W}.weight`]: fp8,
        [`${W}.scale`]: tensor('F8_E8M0', [3, 3], new Uint8Array(9)),
        [`${W}.weight_scale_2`]: scalar(1),
      },
      `"${W}.weight_scale_2": does not belong beside a F8_E4M3 weight (${W}.weight)`,
    ],
    [
      'MXFP4 without scales',
      { [`${E}.weight`]: mx },
      `"${E}.weight": I8 weight without ${E}.scale: expected weight and scale (MXFP4)`,
    ],
    [
      'MXFP4 scales of a wrong dtype',
      { [`${E}.weight`]: mx, [`${E}.scale`]: tensor('F8_E4M3', [160, 9], new Uint8Array(1440)) },
      `"${E}.scale": expected F8_E8M0 or U8 [160, 9], found F8_E4M3 [160, 9]`,
    ],
    [
      'MXFP4 scales of a wrong shape',
      { [`${E}.weight`]: mx, [`${E}.scale`]: tensor('F8_E8M0', [160, 18], new Uint8Array(2880)) },
      `"${E}.scale": expected F8_E8M0 or U8 [160, 9], found F8_E8M0 [160, 18]`,
    ],
    [
      'MXFP4 codes of a wrong shape',
      {
        [`${E}.weight`]: tensor('I8', [160, 288], new Uint8Array(160 * 288)),
        [`${E}.scale`]: tensor('F8_E8M0', [160, 9], new Uint8Array(1440)),
      },
      `"${E}.weight": expected I8 or U8 [160, 144], found I8 [160, 288]`,
    ],
    [
      'compressed-tensors without a global scale',
      { [`${W}.weight`]: null, [`${W}.weight_packed`]: packed, [`${W}.weight_scale`]: sf },
      `"${W}.weight_packed": U8 weight without ${W}.weight_global_scale: expected weight_packed, weight_scale and weight_global_scale (compressed-tensors NVFP4), found "weight_scale" beside it`,
    ],
    [
      'compressed-tensors with a weight too',
      { [`${W}.weight_packed`]: packed, [`${W}.weight_scale`]: sf, [`${W}.weight_global_scale`]: scalar(2688, [1]) },
      `"${W}.weight_packed": does not belong beside a BF16 weight (${W}.weight)`,
    ],
    [
      "ModelOpt's scale in compressed-tensors' tensors",
      {
        [`${W}.weight`]: null,
        [`${W}.weight_packed`]: packed,
        [`${W}.weight_scale`]: sf,
        [`${W}.weight_global_scale`]: scalar(2688),
        [`${W}.weight_scale_2`]: scalar(1),
      },
      `"${W}.weight_scale_2": does not belong beside a U8 weight (${W}.weight_packed)`,
    ],
    [
      'a global scale of a wrong dtype',
      {
        [`${W}.weight`]: null,
        [`${W}.weight_packed`]: packed,
        [`${W}.weight_scale`]: sf,
        [`${W}.weight_global_scale`]: tensor('BF16', [1], new Uint16Array(1)),
      },
      `"${W}.weight_global_scale": expected F32 [] or [1], found BF16 [1]`,
    ],
  ])('%s', async (_, changes, message) => {
    const dir = await written(changes);
    expect(thrown(() => openCheckpoint(dir), dir)).toBe(`ERR_CHECKPOINT: ${FILE}: tensor ${message}`);
  });

  it('MXFP4 of a width that has no whole blocks', async () => {
    const config = { ...CONFIG, moe_intermediate_size: 48 };
    const name = 'layers.0.ffn.experts.0.w2';
    const dir = await written(
      {
        [`${name}.weight`]: tensor('I8', [288, 24], new Uint8Array(288 * 24)),
        [`${name}.scale`]: tensor('F8_E8M0', [288, 1], new Uint8Array(288)),
      },
      config,
    );
    expect(thrown(() => openCheckpoint(dir), dir)).toBe(
      `ERR_CHECKPOINT: ${FILE}: tensor "${name}.weight": MXFP4 needs a width that is a multiple of 32, this is [288, 48]`,
    );
  });
});

describe('what the files say about themselves', () => {
  it("DSpark's keys are let be, its draft layers set apart and counted", async () => {
    const config = {
      ...CONFIG,
      compress_ratios: [0, 4, 128, 0, 0, 0],
      dspark_block_size: 5,
      dspark_noise_token_id: 23,
      dspark_target_layer_ids: [0, 1, 2],
      dspark_markov_rank: 256,
      num_nextn_predict_layers: 1,
    };
    const draft = Object.fromEntries(
      [0, 1, 2].flatMap((i) => [`mtp.${i}.norm.weight`, `mtp.${i}.attn.wq_a.weight`].map((name) => [name, scalar(1)])),
    );
    using(await written(draft, config), (c) => {
      expect(c.warnings).toEqual([]);
      expect([c.draft.layers, c.draft.tensors.size]).toEqual([3, 6]);
      expect(c.config.compressRatios).toEqual([0, 4, 128]);
    });
  });

  it('expert_dtype and compressed-tensors are held against the tensors', async () => {
    const mx: Record<string, Change> = {};
    const ct: Record<string, Change> = {};
    for (let layer = 0; layer < 3; layer++)
      for (let x = 0; x < 3; x++)
        for (const [m, n, k] of [
          ['w1', 160, 288],
          ['w3', 160, 288],
          ['w2', 288, 160],
        ] as const) {
          const name = `layers.${layer}.ffn.experts.${x}.${m}`;
          mx[`${name}.weight`] = tensor('I8', [n, k / 2], new Uint8Array((n * k) / 2));
          mx[`${name}.scale`] = tensor('F8_E8M0', [n, k / 32], new Uint8Array((n * k) / 32));
          Object.assign(ct, FORMATS['compressed-tensors']!(name, n, k).tensors);
        }
    const told = async (changes: Record<string, Change>, extra: object): Promise<readonly string[]> =>
      using(await written(changes, { ...CONFIG, ...extra }), (c) => [...c.warnings]);
    const fp8 = { quantization_config: { quant_method: 'fp8', weight_block_size: [128, 128] } };
    const dense =
      'config.json: the quantization manifest says fp8, but the tensors are bf16 in 25 modules, as "layers.0.attn.wq_a"; the tensors decide';
    expect(await told(mx, { ...fp8, expert_dtype: 'fp4' })).toEqual([dense]);
    expect(await told(mx, fp8)).toEqual([dense]);
    expect(await told(mx, { ...fp8, expert_dtype: 'fp8' })).toEqual([
      dense,
      'config.json: the quantization manifest says fp8, but the tensors are mxfp4 in 27 modules, as "layers.0.ffn.experts.0.w1"; the tensors decide',
    ]);
    const group = { quantization_config: { quant_method: 'compressed-tensors', format: 'nvfp4-pack-quantized' } };
    const ignore = [
      're:.*\\.attn\\..*',
      'layers.0.ffn.shared_experts',
      're:^layers\\.[89]\\.ffn',
      're:layers.1.ffn.shared_experts',
    ];
    expect(await told(ct, { quantization_config: { ...group.quantization_config, ignore } })).toEqual([
      'config.json: the quantization manifest says nvfp4, but the tensors are bf16 in 3 modules, as "layers.2.ffn.shared_experts.w1"; the tensors decide',
    ]);
  });
});
