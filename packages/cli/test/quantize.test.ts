import { openCheckpoint, writeCheckpoint, type TensorToWrite } from '@megamoe/checkpoint';
import { dequantizeNvfp4, globalDecodeScale } from '@megamoe/nvfp4-quant';
import { expectBytes } from '@megamoe/testkit';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { cli, MICRO, temporaryFolder, TINY } from './support';

const dir = temporaryFolder();
const at = (name: string): string => join(dir, name);
/** Amax of the inputs of every expert, from which the input scales of models/tiny were made. */
const CALIBRATION = new URL('./goldens/tiny-calibration.json', import.meta.url).pathname;
const ENCODER = 'encoding/encoding_dsv4.py';
const MATRICES = ['w1', 'w2', 'w3'] as const;

/** The tiny model with its experts as float32. */
beforeAll(async () => {
  const checkpoint = openCheckpoint(TINY);
  const { numHiddenLayers, numExperts } = checkpoint.config;
  const tensors: TensorToWrite[] = [];
  for (const [name, { dtype, shape }] of checkpoint.tensors) {
    if (!/^layers\..*\.experts\./.test(name)) tensors.push({ name, dtype, shape, data: checkpoint.read(name) });
  }
  for (let layer = 0; layer < numHiddenLayers; layer++) {
    for (let expert = 0; expert < numExperts; expert++) {
      for (const matrix of MATRICES) {
        const t = checkpoint.expert(layer, expert, matrix);
        if (t.format !== 'nvfp4') throw new Error('the tiny model has NVFP4 experts');
        const shape = { m: t.n, k: t.k, globalDecodeScale: globalDecodeScale(t.weightGlobalDecodeScale) };
        const data = dequantizeNvfp4(t.codes, t.sf, shape);
        tensors.push({
          name: `layers.${layer}.ffn.experts.${expert}.${matrix}.weight`,
          dtype: 'F32',
          shape: [t.n, t.k],
          data,
        });
      }
    }
  }
  const config = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8')) as Record<string, unknown>;
  delete config.quantization_config;
  const beside = Object.fromEntries(
    ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json', ENCODER].map((name) => [
      name,
      readFileSync(join(TINY, name)),
    ]),
  );
  await writeCheckpoint(at('f32'), tensors, { files: { 'config.json': config, ...beside } });
  checkpoint.close();
});

describe('megamoe quantize', () => {
  it('gives back the codes, block scales and input scales of the tiny model, byte for byte, from its dequantized experts', async () => {
    const { code, out, err } = await cli(
      'quantize',
      '--in',
      at('f32'),
      '--out',
      at('nvfp4'),
      '--calibration',
      CALIBRATION,
    );
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/projection/);
    const [got, want] = [openCheckpoint(at('nvfp4')), openCheckpoint(TINY)];
    expect([...got.tensors.keys()].sort()).toEqual([...want.tensors.keys()].sort());
    for (const name of want.tensors.keys()) {
      const [ours, bytes] = [got.read(name), want.read(name)];
      if (name.endsWith('.weight_scale_2')) {
        // The largest dequantized weight, 6 * fround(448 * g), is itself rounded: dividing by 2688 gives g back to one ulp.
        const [a, b] = [ours, bytes].map((x) => new Int32Array(x.buffer, x.byteOffset, 1)[0]!);
        expect(Math.abs(a! - b!), name).toBeLessThanOrEqual(1);
        continue;
      }
      // A negative zero decodes to -0, whose sign ModelOpt's rule (x < 0) drops.
      const codes = /^layers\..*experts\.\d+\.w\d\.weight$/.test(name); // the prediction layer's are the source's own
      const positive = (b: number): number => (b === 8 ? 0 : b);
      expectBytes(ours, codes ? bytes.map((b) => positive(b & 15) | (positive(b >> 4) << 4)) : bytes);
    }
    expect(got.draft.tensors.size).toBe(125);
    got.close();
    want.close();
    const others = (folder: string): string[] =>
      (readdirSync(folder, { recursive: true }) as string[]).filter((f) => !/safetensors|config\.json/.test(f)).sort();
    expect(others(at('nvfp4'))).toEqual(others(at('f32')));
    expectBytes(readFileSync(at(`nvfp4/${ENCODER}`)), readFileSync(join(TINY, ENCODER)));
    expect((await cli('generate', '--model', at('nvfp4'))).out).toBe('The capital of France is Paris.\n');
  });
  it('never writes an input scale that nothing can be staged with', async () => {
    const amax = Array.from({ length: 6 }, () => ({
      w13: new Array<number>(8).fill(1),
      w2: new Array<number>(8).fill(0.5),
    }));
    Object.assign(amax[3]!.w2, { 1: 1e-42, 2: 1e-33, 3: 0 });
    writeFileSync(at('dead.json'), JSON.stringify(amax));
    const dead = ['--in', MICRO, '--out', at('dead'), '--calibration', at('dead.json')];
    const { code, err } = await cli('quantize', ...dead);
    expect([code, err]).toEqual([0, expect.stringContaining('never reached experts 1, 2, 3 of layer 3 w2')]);
    const scalesOf = (folder: string): (number | undefined)[] => {
      const checkpoint = openCheckpoint(folder);
      const scales = [0, 1, 2, 3].map((x) => checkpoint.expertScales(3, x, 'w2').inputGlobalDecodeScale);
      checkpoint.close();
      return scales;
    };
    const live = Math.fround(0.5 / 2688);
    expect(scalesOf(at('dead'))).toEqual([live, live, live, live]);
    for (const layer of amax) layer.w2.fill(1e-40);
    writeFileSync(at('dead.json'), JSON.stringify(amax));
    expect((await cli('quantize', ...dead, '--overwrite')).err).toMatch(/reached no expert of layer 0, projection w2/);

    // The same of a source that has such scales itself, and one matrix of another convention, so that there is something to do.
    const source = openCheckpoint(at('dead'));
    const tensors = [...source.tensors].flatMap(([name, { dtype, shape }]): TensorToWrite[] => {
      const stored = source.read(name);
      const [, expert] = /^layers\.3\.ffn\.experts\.(\d)\.w2\.input_scale$/.exec(name) ?? [];
      const scale = ({ 0: 0, 1: 1e-40, 2: Infinity } as Record<string, number>)[expert ?? ''];
      if (scale !== undefined) return [{ name, dtype, shape, data: Float32Array.of(scale) }];
      const [, base, key] = /^(layers\.5\.ffn\.experts\.0\.w2)\.(\w+)$/.exec(name) ?? [];
      if (base === undefined) return [{ name, dtype, shape, data: stored }];
      if (key === 'input_scale') return [];
      const renamed = { weight: 'weight_packed', weight_scale_2: 'weight_global_scale' }[key!] ?? key!;
      const data = key === 'weight_scale_2' ? Float32Array.of(2688) : stored;
      return [{ name: `${base}.${renamed}`, dtype, shape, data }];
    });
    const config = readFileSync(join(MICRO, 'config.json'));
    await writeCheckpoint(at('dead-source'), tensors, { files: { 'config.json': config } });
    source.close();
    const again = await cli('quantize', '--in', at('dead-source'), '--out', at('dead-again'));
    expect([again.code, again.err]).toEqual([
      0,
      expect.stringMatching(/3 input_scale are 0, infinite or too small and count as absent/),
    ]);
    expect(scalesOf(at('dead-again'))).toEqual([live, live, live, live]);
  });
  it('measures input scales from text', async () => {
    writeFileSync(
      at('text.txt'),
      'The capital of France is Paris. What is 7 plus 5? The chemical symbol of carbon is C. '.repeat(12),
    );
    const { code, out } = await cli(
      'quantize',
      '--in',
      at('f32'),
      '--out',
      at('measured'),
      '--calibrate',
      at('text.txt'),
      '--json',
    );
    expect(code).toBe(0);
    expect((JSON.parse(out) as { projections: unknown[] }).projections).toHaveLength(18);
    const checkpoint = openCheckpoint(at('measured'));
    const t = checkpoint.expert(3, 2, 'w1');
    expect(t.format === 'nvfp4' && t.inputGlobalDecodeScale).toBeGreaterThan(0);
    checkpoint.close();
    expect((await cli('generate', '--model', at('measured'))).out).toBe('The capital of France is Paris.\n');
  });
  it('without calibration writes no input_scale, and the model still answers', async () => {
    const { code, err } = await cli('quantize', '--in', at('f32'), '--out', at('dynamic'));
    expect([code, err]).toEqual([0, expect.stringMatching(/no calibration given/)]);
    expect((await cli('generate', '--model', at('dynamic'))).out).toBe('The capital of France is Paris.\n');
  });
  it('shards at a limit, and keeps what is there unless told', async () => {
    const args = ['quantize', '--in', MICRO, '--out', at('micro'), '--max-shard-bytes', '300000'];
    expect((await cli(...args)).code).toBe(0);
    expect(readdirSync(at('micro')).filter((f) => f.endsWith('.safetensors')).length).toBeGreaterThan(2);
    expect(existsSync(at('micro/model.safetensors.index.json'))).toBe(true);
    expect(await cli(...args)).toMatchObject({ code: 1 });
    expect(await cli(...args, '--overwrite')).toMatchObject({ code: 0 });
    const ran = await cli('logits', '--model', at('micro'), '--token-ids', '1,2,3', '--out', at('micro.safetensors'));
    expect(ran.code).toBe(0);
  });
  it('takes over what lies beside the weights, and leaves what speaks of them', async () => {
    const source = at('beside');
    const put = (name: string, text = name): void => {
      mkdirSync(dirname(join(source, name)), { recursive: true });
      writeFileSync(join(source, name), text);
    };
    mkdirSync(source);
    for (const file of ['config.json', 'model.safetensors']) copyFileSync(join(MICRO, file), join(source, file));
    const taken = [
      ...['LICENSE', 'chat_template.jinja', 'encoding/encoding_dsv4.py', 'encoding/tests/a/b.json'],
      ...[
        'generation_config.json',
        'inference/config.json',
        'inference/model.py',
        'special_tokens_map.json',
        'vocab.json',
      ],
    ];
    const left = [
      ...['README.md', 'hf_quant_config.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json', 'a.gguf'],
      ...['fp32/model-00001-of-00002.safetensors', '.gitattributes', '.cache/x', '__pycache__/x.pyc'],
    ];
    for (const name of [...taken, ...left]) put(name, name.endsWith('.json') ? '{}' : name);
    symlinkSync(join(source, 'LICENSE'), join(source, 'NOTICE')); // as in Hugging Face's cache
    symlinkSync(join(source, 'gone'), join(source, 'broken.txt'));
    const out = join(source, 'quantized'); // within what is read
    const { code, err } = await cli('quantize', '--in', source, '--out', out);
    expect([code, err]).toEqual([
      0,
      expect.stringMatching(/^megamoe: warning: broken\.txt is not copied: cannot be read \(ENOENT\)\n/),
    ]);
    const files = (readdirSync(out, { recursive: true }) as string[])
      .filter((f) => statSync(join(out, f)).isFile())
      .map((f) => f.replaceAll('\\', '/'));
    const own = ['config.json', 'hf_quant_config.json', 'model.safetensors'];
    expect(files.sort()).toEqual([...taken, 'NOTICE', ...own].sort());
    for (const name of taken) expectBytes(readFileSync(join(out, name)), readFileSync(join(source, name)));
    expect(readFileSync(join(out, 'NOTICE'), 'utf8')).toBe('LICENSE');
    expect((await cli('quantize', '--in', source, '--out', out, '--overwrite')).code).toBe(0);
    expect(existsSync(join(out, 'quantized'))).toBe(false);
  });
  it.each([
    ['the same folder', ['--in', MICRO, '--out', MICRO], 2, /another folder/],
    ['experts that are NVFP4 already', ['--in', TINY, '--out', 'OUT'], 1, /NVFP4 already/],
    ['a missing calibration', ['--in', MICRO, '--out', 'OUT', '--calibration', 'nowhere.json'], 2, /nowhere.json/],
    ['a calibration of another model', ['--in', MICRO, '--out', 'OUT', '--calibration', 'SHORT'], 2, /6 layers, got 1/],
    [
      'a calibration with too few experts',
      ['--in', MICRO, '--out', 'OUT', '--calibration', 'FEW'],
      2,
      /8 experts, got 1/,
    ],
    ['a calibration with NaN', ['--in', MICRO, '--out', 'OUT', '--calibration', 'NAN'], 2, /0\.w13\.0/],
    [
      'both kinds of calibration',
      ['--in', MICRO, '--out', 'OUT', '--calibration', 'a', '--calibrate', 'b'],
      2,
      /cannot be used with/,
    ],
  ])('refuses %s and writes nothing', async (_, argv, want, message) => {
    writeFileSync(at('SHORT'), '[{"w13":[1],"w2":[1]}]');
    writeFileSync(at('FEW'), JSON.stringify(Array.from({ length: 6 }, () => ({ w13: [1], w2: [1] }))));
    writeFileSync(at('NAN'), '[{"w13":[null],"w2":[1]}]');
    const args = argv.map((a) => (/^[A-Z]+$/.test(a) ? at(a) : a));
    const { code, err } = await cli('quantize', ...args);
    expect(err).toMatch(message);
    expect(code).toBe(want);
    expect(existsSync(at('OUT')) ? readdirSync(at('OUT')) : []).toEqual([]);
  });
});

describe('megamoe inspect', () => {
  it('sums the model up', async () => {
    const { code, out } = await cli('inspect', TINY, '--json');
    const r = JSON.parse(out) as {
      parameters: number;
      draft: object;
      modules: { module: string; format: string; count: number }[];
      scales: Record<string, number>;
    };
    expect(code).toBe(0);
    expect(r.modules.find((m) => m.module === 'layers.*.ffn.experts.*.w1')).toMatchObject({
      format: 'nvfp4',
      count: 96,
    });
    expect(r.scales).toMatchObject({ nanScales: 0, blocks: 96 * 3 * 128 * 16 });
    const experts = { module: 'mtp.*.ffn.experts.*.w1', format: 'mxfp4', count: 16, shape: [128, 256] };
    expect(r.modules.find((m) => m.module === experts.module)).toMatchObject({
      ...experts,
      parameters: 16 * 128 * 256,
    });
    expect(r.modules.filter((m) => /^(layers|mtp)\.\d/.test(m.module))).toEqual([]);
    expect(r.draft).toMatchObject({ layers: 1, tensors: 125 });
    expect(r.parameters).toBeGreaterThan(16e6);
    expect(r.parameters).toBeLessThan(17e6);
    const { out: text } = await cli('inspect', TINY);
    expect(text).toMatch(/NVFP4 block scales/);
    expect(text).toMatch(/^mtp\.\*: 1 draft layer, 1\.\d MB in 125 tensors, skipped when computing$/m);
    expect((await cli('inspect', MICRO)).out).not.toMatch(/draft/);
  });
  it('fails on NaN scales and says how many', async () => {
    const checkpoint = openCheckpoint(TINY);
    const tensors: TensorToWrite[] = [...checkpoint.tensors].map(([name, { dtype, shape }]) => {
      const data = checkpoint.read(name);
      if (name === 'layers.1.ffn.experts.3.w2.weight_scale') data[5] = 0x7f;
      return { name, dtype, shape, data };
    });
    await writeCheckpoint(at('nan'), tensors, { files: { 'config.json': readFileSync(join(TINY, 'config.json')) } });
    checkpoint.close();
    const { code, err, out } = await cli('inspect', at('nan'));
    expect([code, err]).toEqual([1, expect.stringMatching(/1 block scales? (is|are) NaN/)]);
    expect(out).toMatch(/NaN: 1/);
    const load = await cli('logits', '--model', at('nan'), '--token-ids', '1', '--out', at('x.safetensors'));
    expect([load.code, load.err]).toEqual([1, expect.stringMatching(/layers\.1\.ffn\.experts\.3\.w2/)]);
  });
  it('needs a folder', async () => {
    expect((await cli('inspect')).code).toBe(2);
    expect((await cli('inspect', at('nothing'))).code).toBe(1);
  });
});
