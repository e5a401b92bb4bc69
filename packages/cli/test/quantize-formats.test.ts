import {
  matrixToFloat32,
  openCheckpoint,
  writeCheckpoint,
  type Checkpoint,
  type ModelConfig,
  type TensorToWrite,
} from '@megamoe/checkpoint';
import { E4M3_VALUES, E8M0_VALUES } from '@megamoe/core';
import { globalDecodeScaleFromAmax, quantizeNvfp4, unpackGguf } from '@megamoe/nvfp4-quant';
import * as reference from '@megamoe/reference';
import { expectBytes, seeded } from '@megamoe/testkit';
import { createGemmKernels } from '@megamoe/gemm-native';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ggufMetadata } from '../src/quantize/gguf-metadata';
import { errorSums } from '../src/quantize/measure';
import { expectOfflinePage } from './html-checks';
import { cli, MICRO, temporaryFolder, TINY } from './support';

const dir = temporaryFolder();
const at = (name: string): string => join(dir, name);

interface Report {
  projections: {
    layer: number;
    projection: string;
    relativeError: number;
    worstCosine: number;
    blocks: number;
    inexactBlocks: number;
  }[];
  unreached: Record<string, number[]>;
  left: string[];
}

function using<T>(path: string, f: (c: Checkpoint) => T): T {
  const checkpoint = openCheckpoint(path);
  try {
    return f(checkpoint);
  } finally {
    checkpoint.close();
  }
}

/** Every matrix of a checkpoint, as float32, by name. */
const matrices = (path: string): Map<string, Float32Array> =>
  using(
    path,
    (c) => new Map([...c.modules.values()].map(({ name, n, k }) => [name, matrixToFloat32(c.linear(name, n, k))])),
  );

/** The micro model with its matrices stored in another way. */
async function stored(
  name: string,
  make: (module: string, x: Float32Array, n: number, k: number) => TensorToWrite[] | null,
): Promise<string> {
  await using(MICRO, async (c) => {
    const tensors: TensorToWrite[] = [];
    for (const info of c.tensors.values()) {
      const module = info.name.replace(/\.weight$/, '');
      const { n, k } = c.modules.get(module) ?? { n: 0, k: 0 };
      const other = n > 0 ? make(module, matrixToFloat32(c.linear(module, n, k)), n, k) : null;
      tensors.push(...(other ?? [{ name: info.name, dtype: info.dtype, shape: info.shape, data: c.read(info.name) }]));
    }
    await writeCheckpoint(at(name), tensors, { files: { 'config.json': readFileSync(join(MICRO, 'config.json')) } });
  });
  return at(name);
}

const isExpert = (module: string): boolean => module.includes('.experts.');

/** ModelOpt's rule, by the plain quantizer: what the command must write for a unit of matrices. */
function expected(
  values: readonly Float32Array[],
  shape: { m: number; k: number },
): { codes: Uint8Array; sf: Uint8Array; g: number }[] {
  const g = globalDecodeScaleFromAmax(Math.max(...values.map((x) => x.reduce((a, v) => Math.max(a, Math.abs(v)), 0))));
  return values.map((x) => ({ ...quantizeNvfp4(x, { ...shape, globalDecodeScale: g }), g }));
}

/** Checks every quantized matrix of `out` against its source's values. */
function checkQuantized(source: Map<string, Float32Array>, out: string, selected: (name: string) => boolean): number {
  return using(out, (c) => {
    let count = 0;
    for (const { name, n, k } of c.modules.values()) {
      if (!selected(name) || name.endsWith('w3')) continue;
      const unit = /experts\.(\d+\.)?w1$/.test(name) ? [name, name.replace(/w1$/, 'w3')] : [name];
      const want = expected(
        unit.map((m) => source.get(m)!),
        { m: n, k },
      );
      unit.forEach((module, i) => {
        const t = c.linear(module, n, k);
        if (t.format !== 'nvfp4') throw new Error(`${module} is ${t.format}`);
        expect(t.weightGlobalDecodeScale, module).toBe(want[i]!.g);
        expectBytes(t.sf, want[i]!.sf, [n, k / 16]);
        expectBytes(t.codes, want[i]!.codes, [n, k / 2]);
        count++;
      });
    }
    return count;
  });
}

describe('megamoe quantize reads any format', () => {
  it.each(['js', 'auto'])('float32: the bytes of the plain quantizer, with the %s kernels', async (backend) => {
    const { code, err } = await cli('quantize', '--in', MICRO, '--out', at(`f32-${backend}`), '--backend', backend);
    expect([code, err]).toEqual([0, expect.stringMatching(/no calibration given/)]);
    expect(checkQuantized(matrices(MICRO), at(`f32-${backend}`), isExpert)).toBe(6 * 8 * 3);
  });
  it.each([
    ['scale', { quant_method: 'fp8', fmt: 'e4m3', scale_fmt: 'ue8m0', weight_block_size: [128, 128] }],
    ['weight_scale', { quant_method: 'compressed-tensors', format: 'mixed-precision' }],
  ] as const)('FP8 experts and attention by %s: the attention stays, its manifest too', async (key, manifest) => {
    const fp8 = await stored(`fp8-${key}`, (module, x, n, k) => {
      if (!/\.experts\.|\.attn\.w/.test(module)) return null;
      const q = reference.quantizeFp8(x, { n, k }, 'e8m0');
      const bf16 = Uint16Array.from(q.e8m0!, (byte) => byte << 7); // the same powers of two
      const scale = [Math.ceil(n / 128), Math.ceil(k / 128)];
      return [
        { name: `${module}.weight`, dtype: 'F8_E4M3', shape: [n, k], data: q.codes },
        key === 'scale'
          ? { name: `${module}.scale`, dtype: 'F8_E8M0', shape: scale, data: q.e8m0! }
          : { name: `${module}.weight_scale`, dtype: 'BF16', shape: scale, data: bf16 },
      ];
    });
    const config = JSON.parse(readFileSync(join(fp8, 'config.json'), 'utf8')) as object;
    writeFileSync(join(fp8, 'config.json'), JSON.stringify({ ...config, quantization_config: manifest }));
    const out = at(`from-fp8-${key}`);
    expect((await cli('quantize', '--in', fp8, '--out', out)).code).toBe(0);
    expect(checkQuantized(matrices(fp8), out, isExpert)).toBe(144);
    using(out, (c) => {
      expect(c.modules.get('layers.2.attn.wq_b')!.format).toBe('fp8');
      expect(c.tensors.has('layers.2.attn.wq_b.scale')).toBe(true);
      expect(c.warnings.filter((w) => w.includes('manifest'))).toEqual([]);
      expect(c.quantization).toMatchObject({ method: 'fp8', algorithm: 'MIXED_PRECISION', moeAlgorithm: 'NVFP4' });
    });
  });
  it('MXFP4: exact where the exponents allow it, counted where not', async () => {
    const mxfp4 = await stored('mxfp4', (module, x, n, k) => {
      if (!isExpert(module)) return null;
      const q = reference.quantizeMxfp4(x, { n, k });
      if (module === 'layers.1.ffn.experts.3.w1' || module === 'layers.1.ffn.experts.3.w3') {
        // Sixes 2^18 below the largest scale fit under another scale; halves 2^30 below it do not.
        q.codes.fill(module.endsWith('w1') ? 0x77 : 0x11, 0, 16);
        q.e8m0[0] = Math.max(...q.e8m0) - (module.endsWith('w1') ? 18 : 30);
      }
      return [
        { name: `${module}.weight`, dtype: 'I8', shape: [n, k / 2], data: q.codes },
        { name: `${module}.scale`, dtype: 'F8_E8M0', shape: [n, k / 32], data: q.e8m0 },
      ];
    });
    const { code, out } = await cli('quantize', '--in', mxfp4, '--out', at('from-mxfp4'), '--json');
    expect(code).toBe(0);
    const [want, got] = [matrices(mxfp4), matrices(at('from-mxfp4'))];
    let different = 0;
    for (const [name, x] of want) {
      const y = got.get(name)!;
      for (let b = 0; b < x.length; b += 32) if (x.slice(b, b + 32).some((v, i) => v !== y[b + i])) different++;
    }
    const inexact = (JSON.parse(out) as Report).projections.filter((p) => p.inexactBlocks > 0);
    expect(inexact.reduce((sum, p) => sum + p.inexactBlocks, 0)).toBe(different);
    expect(different).toBe(1);
    expect(inexact.map((p) => [p.layer, p.projection])).toEqual([[1, 'w3']]);
    expect(inexact[0]!.relativeError).toBeGreaterThan(0);
  });
  it('compressed-tensors: the same codes and scales, the divisor turned over', async () => {
    const source = await stored('ct', (module, x, n, k) => {
      if (!isExpert(module)) return null;
      const q = reference.quantizeCompressedTensors(x, { n, k });
      return [
        { name: `${module}.weight_packed`, dtype: 'U8', shape: [n, k / 2], data: q.codes },
        { name: `${module}.weight_scale`, dtype: 'F8_E4M3', shape: [n, k / 16], data: q.sf },
        { name: `${module}.weight_global_scale`, dtype: 'F32', shape: [1], data: Float32Array.of(q.globalEncodeScale) },
        { name: `${module}.input_global_scale`, dtype: 'F32', shape: [1], data: Float32Array.of(300) },
      ];
    });
    expect((await cli('quantize', '--in', source, '--out', at('from-ct'))).code).toBe(0);
    using(source, (a) => {
      using(at('from-ct'), (b) => {
        const [x, y] = [a.expert(2, 1, 'w2'), b.expert(2, 1, 'w2')];
        expect(y).toEqual(x);
        expect(y.format === 'nvfp4' && y.inputGlobalDecodeScale).toBe(Math.fround(1 / 300));
        expect(b.modules.get('layers.2.ffn.experts.1.w2')!.convention).toBe('modelopt');
      });
    });
  });
});

describe('megamoe quantize --layers all', () => {
  it('quantizes every matrix of the layers but the router, with input scales from text', async () => {
    const f32 = at('tiny-f32');
    await using(TINY, async (c) => {
      const tensors = [...c.tensors.values()].flatMap(({ name, dtype, shape }): TensorToWrite[] => {
        if (!/^layers\..*\.experts\./.test(name)) return [{ name, dtype, shape, data: c.read(name) }];
        const m = c.modules.get(name.replace(/\.weight$/, ''));
        if (!m) return [];
        return [{ name, dtype: 'F32', shape: [m.n, m.k], data: matrixToFloat32(c.linear(m.name, m.n, m.k)) }];
      });
      const config = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8')) as Record<string, unknown>;
      delete config.quantization_config;
      const files = { 'config.json': config, 'tokenizer.json': readFileSync(join(TINY, 'tokenizer.json')) };
      await writeCheckpoint(f32, tensors, { files });
    });
    writeFileSync(at('text.txt'), 'The capital of France is Paris. What is 7 plus 5? '.repeat(9));
    const args = ['--in', f32, '--layers', 'all', '--calibrate', at('text.txt'), '--json', '--html', at('report.html')];
    const { code, out, err } = await cli('quantize', ...args, '--out', at('all'));
    expect(code, err).toBe(0);
    const report = JSON.parse(out) as Report;
    const left = new Set(report.left);
    const selected = (name: string): boolean => /^layers\./.test(name) && !/\.ffn\.gate$/.test(name) && !left.has(name);
    const source = matrices(f32);
    expect(checkQuantized(source, at('all'), selected)).toBe([...source.keys()].filter(selected).length);
    expect(report.projections.find((p) => p.projection === 'attn.wq_b')).toMatchObject({
      blocks: expect.any(Number) as number,
    });
    using(at('all'), (c) => {
      for (const name of ['embed', 'head', 'layers.0.ffn.gate'])
        expect(c.modules.get(name)?.format ?? 'bf16').toBe('bf16');
      const t = c.linear('layers.3.attn.wq_a', c.config.qLoraRank, c.config.hiddenSize);
      expect(t.format === 'nvfp4' && t.inputGlobalDecodeScale).toBeGreaterThan(0);
      expect(c.warnings.filter((w) => /manifest|input_scale/.test(w))).toEqual([]);
      expect(c.quantization).toMatchObject({ method: 'modelopt', algorithm: 'NVFP4' });
    });
    expect((await cli('generate', '--model', at('all'), '--max-tokens', '4')).code).toBe(0);
    const page = readFileSync(at('report.html'), 'utf8');
    expectOfflinePage(page);
    expect(page).toContain('attn.wq_b');
    expect(page).toContain('Largest relative error');
  });
});

describe('megamoe quantize --format gguf', () => {
  it('writes blocks that decode to the values of the ModelOpt checkpoint', async () => {
    // The micro models' experts are too narrow for blocks of 64: the tiny model's are not.
    const { code, err } = await cli('quantize', '--in', MICRO, '--out', at('narrow.gguf'), '--format', 'gguf');
    expect([code, err]).toEqual([1, expect.stringMatching(/width of 32; GGUF NVFP4 needs a multiple of 64/)]);
    const run = (...more: string[]) => cli('quantize', '--in', at('tiny-f32'), ...more);
    expect(await run('--out', at('tiny.gguf'), '--format', 'gguf')).toMatchObject({
      code: 0,
      err: expect.stringMatching(/warning: 125 tensors of draft layers \(mtp\.\*\) are left out: GGUF/) as string,
    });
    expect(await run('--out', at('tiny.gguf'), '--format', 'gguf')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/--overwrite/) as string,
    });
    expect((await run('--out', at('tiny-again'))).code).toBe(0);
    const file = readGguf(readFileSync(at('tiny.gguf')));
    expect(file.metadata.get('general.architecture')).toBe('deepseek4');
    expect(file.metadata.get('deepseek4.expert_count')).toBe(16);
    expect(file.metadata.get('deepseek4.attention.compress_ratios')).toEqual([0, 128, 4, 128, 4, 128]);
    expect(Object.fromEntries(file.metadata)).toMatchObject({
      'deepseek4.rope.freq_base': 10000,
      'deepseek4.attention.compress_rope_freq_base': 160000,
      'deepseek4.rope.scaling.type': 'yarn',
      'deepseek4.rope.scaling.factor': 4,
      'deepseek4.rope.scaling.original_context_length': 512,
      'deepseek4.rope.scaling.yarn_beta_fast': 32,
      'deepseek4.rope.scaling.yarn_beta_slow': 1,
      'deepseek4.swiglu_clamp_exp': new Array(6).fill(10),
      'deepseek4.swiglu_clamp_shexp': new Array(6).fill(10),
      'deepseek4.expert_gating_func': 4,
      'deepseek4.expert_weights_norm': true,
    });
    using(at('tiny-again'), (c) => {
      const { numExperts, numHiddenLayers } = c.config;
      for (let layer = 0; layer < numHiddenLayers; layer++) {
        for (const [matrix, name] of [
          ['w1', 'gate'],
          ['w2', 'down'],
          ['w3', 'up'],
        ] as const) {
          const stack = file.tensors.get(`blk.${layer}.ffn_${name}_exps.weight`)!;
          const scales = file.floats(`blk.${layer}.ffn_${name}_exps.scale`);
          const [k, n, e] = stack.dims as [number, number, number];
          expect([stack.type, e, scales.length]).toEqual([40, numExperts, numExperts]);
          for (let expert = 0; expert < e; expert++) {
            const t = c.expert(layer, expert, matrix);
            const bytes = stack.data.subarray((expert * stack.data.length) / e, ((expert + 1) * stack.data.length) / e);
            const { codes, sf } = unpackGguf(Uint8Array.from(bytes), { m: n, k });
            expectBytes(
              matrixToFloat32({ format: 'nvfp4', n, k, codes, sf, weightGlobalDecodeScale: scales[expert]! }),
              matrixToFloat32(t),
              [n, k],
            );
          }
        }
      }
      // Everything else keeps its values, under GGUF's names.
      expectBytes(file.tensors.get('token_embd.weight')!.data, c.read('embed.weight'));
      expectBytes(file.tensors.get('blk.2.attn_q_b.weight')!.data, c.read('layers.2.attn.wq_b.weight'));
      expectBytes(
        file.tensors.get('blk.0.ffn_gate_tid2eid.weight')!.data,
        new Uint8Array(
          c.ints('layers.0.ffn.gate.tid2eid', [c.config.vocabSize, c.config.numExpertsPerTok]).slice().buffer,
        ),
      );
      expect(file.tensors.has('output_hc_fn.weight') && file.tensors.has('blk.5.hc_ffn_scale.weight')).toBe(true);
      const count = [...c.tensors.keys()].filter((name) => !/\.experts\.|^mtp\./.test(name)).length;
      expect(file.tensors.size).toBe(count + numHiddenLayers * 6);
    });
  });
});

it.each(['modelopt', 'compressed-tensors'] as const)(
  'takes NVFP4 of %s over into GGUF, block for block',
  async (convention) => {
    let source = TINY;
    if (convention === 'compressed-tensors') {
      source = at('tiny-ct');
      await using(TINY, async (c) => {
        const tensors = [...c.tensors.values()].map(({ name, dtype, shape }): TensorToWrite => {
          const [, base, key] = /^(layers\..*\.experts\.\d+\.w\d)\.(\w+)$/.exec(name) ?? [];
          const data = c.read(name);
          if (base === undefined) return { name, dtype, shape, data };
          const other = {
            weight: 'weight_packed',
            weight_scale_2: 'weight_global_scale',
            input_scale: 'input_global_scale',
          }[key!];
          if (dtype !== 'F32') return { name: `${base}.${other ?? key!}`, dtype, shape, data };
          return { name: `${base}.${other!}`, dtype, shape: [1], data: Float32Array.of(1 / c.readF32(name)[0]!) };
        });
        const files = { 'config.json': readFileSync(join(TINY, 'config.json')) };
        await writeCheckpoint(source, tensors, { files });
      });
    }
    const out = at(`${convention}.gguf`);
    expect((await cli('quantize', '--in', source, '--out', out, '--format', 'gguf')).code).toBe(0);
    const file = readGguf(readFileSync(out));
    using(source, (c) => {
      for (const [layer, expert, matrix, name] of [
        [0, 0, 'w1', 'gate'],
        [3, 7, 'w3', 'up'],
        [5, 15, 'w2', 'down'],
      ] as const) {
        const t = c.expert(layer, expert, matrix);
        if (t.format !== 'nvfp4') throw new Error(t.format);
        const { data } = file.tensors.get(`blk.${layer}.ffn_${name}_exps.weight`)!;
        const blocks = data.subarray((expert * data.length) / 16, ((expert + 1) * data.length) / 16);
        const { codes, sf } = unpackGguf(Uint8Array.from(blocks), { m: t.n, k: t.k });
        expectBytes(codes, t.codes);
        expectBytes(sf, t.sf);
        expect(file.floats(`blk.${layer}.ffn_${name}_exps.scale`)[expert]).toBe(t.weightGlobalDecodeScale);
        expect(file.floats(`blk.${layer}.ffn_${name}_exps.input_scale`)[expert]).toBe(t.inputGlobalDecodeScale);
      }
    });
    const again = await cli('quantize', '--in', TINY, '--out', at('again'));
    expect([again.code, again.err]).toEqual([1, expect.stringMatching(/are NVFP4 already, in the layout of ModelOpt/)]);
  },
);

it('every number of the config that changes the logits changes the metadata', () => {
  const { config } = using(TINY, (c) => c);
  const text = (c: ModelConfig): string => JSON.stringify(ggufMetadata(c, 'x'));
  const other = (value: unknown): unknown => {
    if (typeof value === 'number') return value + 1;
    if (typeof value === 'boolean') return !value;
    if (typeof value === 'string') return 'sigmoid';
    return Array.isArray(value) ? [...(value as unknown[]).slice(1), 4] : undefined;
  };
  const elsewhere = ['bosTokenId', 'eosTokenIds', 'tieWordEmbeddings'];
  for (const [key, value] of Object.entries(config)) {
    const changed = text({ ...config, [key]: other(value) });
    expect(changed !== text(config), key).toBe(!elsewhere.includes(key));
  }
  for (const [key, value] of Object.entries(config.yarn!)) {
    const yarn = { ...config.yarn!, [key]: (value as number) + 1 };
    expect(text({ ...config, yarn }), key).not.toBe(text(config));
  }
  expect(text({ ...config, yarn: undefined })).toContain('["deepseek4.rope.scaling.type","none"]');
});

it('says why no GGUF file can be written there, before it reads the weights', async () => {
  const refusal = async (out: string): Promise<string> => {
    const { code, err } = await cli('quantize', '--in', MICRO, '--out', out, '--format', 'gguf');
    expect(code).toBe(2);
    return err;
  };
  const nowhere = join(at('no'), 'm.gguf');
  expect(await refusal(nowhere)).toBe(`megamoe: quantize: --out ${nowhere}: There is no folder ${at('no')}.\n`);
  expect(await refusal(dir)).toBe(`megamoe: quantize: --out ${dir}: That is a folder.\n`);
});

it('leaves nothing behind when it is interrupted', async () => {
  const abort = new AbortController();
  const { runCli } = await import('../src/index');
  let asked = 0;
  const signal = new Proxy(abort.signal, {
    get(target, key) {
      if (key === 'throwIfAborted' && ++asked === 40) abort.abort(new Error('interrupted'));
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
    },
  });
  let err = '';
  const code = await runCli(['quantize', '--in', MICRO, '--out', at('interrupted')], {
    ...{ out: () => undefined, err: (text: string) => void (err += text), isTerminal: false, signal },
  });
  expect([code, err]).toEqual([130, expect.stringMatching(/interrupted/)]);
  expect(readdirSync(dir)).not.toContain('interrupted');
});

it.each(['js', 'auto'] as const)('measures what the metrics of the reference measure, on %s', (backend) => {
  const r = seeded(4);
  const [n, k] = [6, 64];
  const x = r.floats(n * k);
  const [{ codes, sf, g }] = expected([x], { m: n, k }) as [{ codes: Uint8Array; sf: Uint8Array; g: number }];
  const y = Float64Array.from(x, (_, i) => {
    const code = (codes[i >> 1]! >> ((i & 1) * 4)) & 15;
    const value = [0, 0.5, 1, 1.5, 2, 3, 4, 6][code & 7]! * (code > 7 ? -1 : 1);
    return value * Math.fround(E4M3_VALUES[sf[i >> 4]!]! * g);
  });
  const s = errorSums(createGemmKernels({ backend }), x, { codes, sf }, { m: n, k, globalDecodeScale: g });
  const norm = (v: ArrayLike<number>): number => Array.from(v).reduce((sum, a) => sum + a * a, 0);
  expect(s.error).toBeCloseTo(norm(y.map((v, i) => v - x[i]!)), 10);
  expect(s.original).toBeCloseTo(norm(x), 10);
  expect((s.original + s.result - s.error) / 2 / Math.sqrt(s.original * s.result)).toBeCloseTo(
    y.reduce((sum, v, i) => sum + v * x[i]!, 0) / Math.sqrt(norm(x) * norm(y)),
    12,
  );
  expect(E8M0_VALUES[127]).toBe(1);
});

/** A GGUF file as its specification describes it, parsed without the writer's code. */
function readGguf(bytes: Buffer): {
  metadata: Map<string, unknown>;
  tensors: Map<string, { dims: number[]; type: number; data: Uint8Array }>;
  floats: (name: string) => Float32Array;
} {
  let at = 0;
  const u32 = (): number => bytes.readUInt32LE((at += 4) - 4);
  const u64 = (): number => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const text = (): string => {
    const length = u64();
    return bytes.toString('utf8', at, (at += length));
  };
  const value = (type: number): unknown => {
    if (type === 4) return u32();
    if (type === 5) return bytes.readInt32LE((at += 4) - 4);
    if (type === 6) return bytes.readFloatLE((at += 4) - 4);
    if (type === 7) return bytes[at++] === 1;
    if (type === 8) return text();
    if (type !== 9) throw new Error(`type ${type}`);
    const of = u32();
    return Array.from({ length: u64() }, () => value(of));
  };
  expect([bytes.toString('latin1', 0, 4), ((at = 4), u32())]).toEqual(['GGUF', 3]);
  const [tensorCount, keyCount] = [u64(), u64()];
  const metadata = new Map(Array.from({ length: keyCount }, () => [text(), value(u32())] as const));
  const infos = Array.from({ length: tensorCount }, () => {
    const name = text();
    const dims = Array.from({ length: u32() }, u64);
    return { name, dims, type: u32(), offset: u64() };
  });
  const start = Math.ceil(at / 32) * 32;
  const size: Record<number, number> = { 0: 4, 1: 2, 26: 4, 30: 2, 40: 36 / 64 };
  const tensors = new Map(
    infos.map(({ name, dims, type, offset }) => {
      expect(offset % 32).toBe(0);
      const length = dims.reduce((a, b) => a * b, 1) * size[type]!;
      expect(start + offset + length).toBeLessThanOrEqual(bytes.length);
      return [name, { dims, type, data: new Uint8Array(bytes.buffer, bytes.byteOffset + start + offset, length) }];
    }),
  );
  expect(tensors.size).toBe(tensorCount);
  return { metadata, tensors, floats: (name) => new Float32Array(Uint8Array.from(tensors.get(name)!.data).buffer) };
}
