/** The GPU's rows without a GPU: the same code over a backend on the host, and what it does with what a GPU or torch would say. */
import { createBackend } from '@megamoe/model';
import { OP_NAMES, type Backend } from '@megamoe/ops';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { Ceilings } from '../src/bench/ceilings';
import { builtCli } from '../src/built-cli';
import { gpuContext, type GpuBackend, type GpuContext } from '../src/bench/gpu/context';
import { describeOp, KERNEL_NAMES, situationText } from '../src/bench/gpu/costs';
import { Loaded } from '../src/bench/gpu/loaded';
import { stepFloor } from '../src/bench/gpu/model-cases';
import { peerRows, peerShapes, torchProgram } from '../src/bench/gpu/peers';
import { layersThatFit } from '../src/bench/gpu/synthetic-model';
import { watched } from '../src/bench/gpu/watch';
import { appendHistory, parseHistory } from '../src/bench/history';
import { secondsOf } from '../src/bench/measure';
import { plotHistory } from '../src/bench/plot';
import { runBench } from '../src/bench/run';
import { v4FlashConfig, type WeightCount } from '../src/bench/synthetic';
import type { BenchRow, StepShape } from '../src/bench/types';
import { cli } from './support';

const backend = createBackend({ threads: 1 });
const ceilings = new Ceilings();
const said: string[] = [];
const context: GpuContext = {
  quick: true,
  backend,
  loaded: new Loaded(),
  step: { layers: 2, experts: 8, context: 64, vocab: 512, dense: 'fp8', floatInputs: 'f32' },
  signal: new AbortController().signal,
  device: 0,
  ceilings: { rate: (kind) => ceilings.rate(kind === 'mma' ? 'fma' : kind, 1, { amount: 2 ** 20 }) },
  seconds: secondsOf,
  freeBytes: () => 8e9,
  packSameExperts: (source) => backend.packExperts(source),
  say: (text) => said.push(text),
};
afterAll(() => context.loaded.dispose());

async function run(o: {
  filter?: string;
  shape?: 'v4-flash' | 'tiny';
  gpu?: Partial<GpuContext>;
}): Promise<BenchRow[]> {
  const { gpu, ...rest } = o;
  return runBench({
    ...{ backend: 'auto', isa: 'auto', threads: [1], quick: true, signal: context.signal, ...rest },
    step: { ...context.step, layers: 2 },
    gpu: { ...context, ...gpu },
    onRow: () => undefined,
    onSkip: (what, why) => said.push(`${what}: ${why}`),
  });
}

describe('without a GPU', () => {
  it('says why, before any work', () => {
    // In a process of its own, from which the GPUs of a machine that has some are hidden.
    const argv = [builtCli()!, 'bench', '--backend', 'cuda', '--shape', 'v4-flash'];
    const env = { ...process.env, CUDA_VISIBLE_DEVICES: '' };
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { env, encoding: 'utf8' });
    expect(stderr).toMatch(/no "cuda" backend here: (@megamoe\/cuda|addon cuda|no NVIDIA)/);
    expect(status).toBe(1);
    expect(stdout).toBe('');
  });
});

describe('options', () => {
  it.each([
    [['--backend', 'cuda', '--threads', '2'], /--threads is for --backend cpu, got --backend cuda/],
    [['--backend', 'cuda', '--isa', 'avx2'], /--isa is for --backend cpu/],
    [['--backend', 'cuda', '--float-inputs', 'bf16'], /--float-inputs is for --backend cpu/],
    [['--device', '0'], /--device is for --backend cuda, got --backend auto/],
    [['--backend', 'cpu', '--peer', 'torch'], /--peer is for --backend cuda, got --backend cpu/],
    [['--backend', 'cuda', '--peer', 'ggml'], /Allowed choices are torch/],
    [['--backend', 'cuda', '--layers', '62'], /from 2 to 61/],
    [['--backend', 'cuda', '--device', '-1'], /Expected an integer/],
  ])('%j is a usage error', async (argv, message) => {
    const { code, out, err } = await cli('bench', '--quick', '--filter', 'rms-norm', ...argv);
    expect(err).toMatch(message);
    expect(code).toBe(2);
    expect(out).toBe('');
  });
});

describe('rows', () => {
  it('every operation of a step has one, in every situation, and all weight formats', async () => {
    const rows = await run({ filter: 'gpu-' });
    for (const row of rows)
      expect([row.median > 0, row.ceiling > 0, row.fraction].every(Boolean), JSON.stringify(row)).toBe(true);
    const keys = rows.map(({ name, shape }) => `${name} ${shape}`);
    expect(new Set(keys).size).toBe(keys.length);
    const names = new Set(rows.map(({ name }) => name));
    expect(KERNEL_NAMES.filter((name) => !names.has(name))).toEqual([]);
    for (const name of ['gpu-linear-w4a4', 'gpu-w4a16', 'gpu-logits-scan', 'gpu-ceiling-read'])
      expect(names).toContain(name);
    for (const name of ['gpu-tiny-decode', 'gpu-tiny-prefill', 'gpu-v4-flash-decode', 'gpu-v4-flash-prefill'])
      expect(names).toContain(name);
    const shapes = (name: string): string[] => rows.filter((r) => r.name === name).map((r) => r.shape);
    for (const situation of ['sequences=1 context=63', 'sequences=2 context=63', 'sequences=3 context=63', 'tokens=32'])
      for (const name of ['gpu-w4a4', 'gpu-attend', 'gpu-all-operations'])
        expect(shapes(name).some((shape) => shape.includes(situation))).toBe(true);
    for (const format of ['fp8 inputs=f32', 'bf16 inputs=bf16', 'bf16 inputs=f32'])
      expect(shapes('gpu-linear').some((shape) => shape.includes(format))).toBe(true);
    expect(shapes('gpu-linear-w4a4').every((shape) => shape.includes('nvfp4'))).toBe(true);
    expect(said.some((text) => text.includes('every expert of a layer has the same weights'))).toBe(true);
  });

  it('a filter takes names, situations, and what only a row knows', async () => {
    const attended = await run({ filter: 'gpu-attend' });
    expect(new Set(attended.map(({ name }) => name))).toEqual(new Set(['gpu-attend']));
    expect(attended.map(({ shape }) => shape.split(' ')[0]).sort()).toEqual(
      [4, 4, 4, 4, 128, 128, 128, 128].map((ratio) => `ratio=${ratio}`).sort(),
    );
    const kv = await run({ filter: 'attn.wkv ' });
    expect(kv.length).toBeGreaterThan(0);
    expect(kv.every(({ shape }) => shape.startsWith('attn.wkv '))).toBe(true);
    await expect(run({ filter: 'no-such-row' })).rejects.toThrow(/matches nothing; there are: gpu-ceiling-read/);
  });

  it('a wrong product is not timed', async () => {
    const wrong: Backend = {
      ...backend,
      linear(a) {
        backend.linear(a);
        const one = Float32Array.of(1e6);
        backend.upload(a.out, (a.rows - 1) * a.w.groups * a.w.n, one, 0, 1);
      },
    };
    await expect(run({ filter: 'gpu-linear', gpu: { backend: wrong, loaded: new Loaded() } })).rejects.toThrow(
      /linear layers\.0\.attn\.wq_a: wrong answer 1000000, expected .*speed is not measured/,
    );
  });

  it('a model that does not fit is not begun', async () => {
    said.length = 0;
    const gpu = { freeBytes: () => 3e9, loaded: new Loaded(), step: { ...context.step, experts: 256 } };
    expect(await run({ shape: 'v4-flash', gpu })).toEqual([]);
    expect(said[0]).toMatch(/2 layers of 256 experts do not fit into the 3\.0 GB that are free: 0 would; give fewer/);
  });
});

describe('what is counted', () => {
  const shape: StepShape = { layers: 2, experts: 256, context: 4096, vocab: 129_280, dense: 'fp8', floatInputs: 'f32' };
  const config = v4FlashConfig(shape);
  const facts = { config, active: 6, sequences: 1, context: 4095, tokens: 1 };
  type Args<N extends Parameters<typeof describeOp>[0]> = Parameters<typeof describeOp<N>>[1];
  const cost = (op: Parameters<typeof describeOp>[0], args: object, of = facts) =>
    describeOp(op, args as Args<typeof op>, of);

  it('of a product of experts: those that have rows, staged rows and results', () => {
    const w = {
      name: 'layers.1.ffn.experts.w1w3',
      n: 4096,
      k: 4096,
      numExperts: 256,
      bytes: 256 * 4096 * 4096 * (9 / 16),
    };
    expect(cost('groupedGemm', { w, staged: { inputs: 'nvfp4' }, slots: 6 })).toEqual({
      name: 'gpu-w4a4',
      what: 'ffn.experts.w1w3 n=4096 k=4096 experts=256',
      bytes: 6 * 4096 * 4096 * (9 / 16) + 6 * (4096 * (9 / 16) + 4 * 4096),
      operations: 2 * 6 * 4096 * 4096,
    });
    expect(cost('groupedGemm', { w, staged: { inputs: 'bf16' }, slots: 6 }).name).toBe('gpu-w4a16');
  });

  it('of a dense product: the weight, rows in and out', () => {
    const w = { name: 'layers.0.attn.wo_a', n: 1024, k: 4096, groups: 8, dtype: 'fp8', bytes: 1000 };
    expect(cost('linear', { w, rows: 3, inputs: 'f32' })).toMatchObject({
      name: 'gpu-linear',
      what: 'attn.wo_a n=8192 k=4096 fp8 inputs=f32',
      bytes: 1000 + 4 * 3 * 8 * (4096 + 1024),
      operations: 2 * 3 * 8 * 1024 * 4096,
    });
  });

  it('of attention: 128 keys of the window and 512 entries of each sequence; of a prompt each key once', () => {
    const cache = { specs: [{ ratio: 4, window: 128 }] };
    const args = { cache, layer: 0, heads: 64, d: 512 };
    const one = cost('attend', args);
    expect(one.operations).toBe(4 * 64 * 512 * 640);
    expect(one.bytes).toBe(4 * 512 * (640 + 2 * 64));
    expect(cost('attend', args, { ...facts, sequences: 8 }).bytes).toBe(8 * one.bytes);
    const prompt = cost('attend', args, { ...facts, context: 0, tokens: 256 });
    expect(prompt.bytes).toBe(4 * 512 * (256 + 64 + 2 * 256 * 64));
    let pairs = 0;
    for (let p = 0; p < 256; p++) pairs += Math.min(128, p + 1) + Math.floor((p + 1) / 4);
    expect(prompt.operations).toBe(4 * 64 * 512 * pairs);
    expect(cost('indexSelect', { heads: 64, dim: 128, topk: 512 }).operations).toBe(2 * 64 * 128 * 1024);
  });

  it('of a whole step: dense weights once, counted experts, keys of every sequence', () => {
    const count: WeightCount = {
      bytes: 0,
      activeBytes: 1000 + 60,
      expertBytes: 2560,
      denseElements: 100,
      headElements: 50,
      expertElements: 10,
    };
    const of = (sequences: number, context: number, tokens: number) =>
      stepFloor({ config }, count, 600, { sequences, context, tokens });
    const keys = 4 * (640 * 512 + 1024 * 128 + (128 + 32) * 512);
    expect(of(1, 4095, 1).bytes).toBe(1000 + 600 + keys);
    expect(of(8, 4095, 1).bytes).toBe(1000 + 600 + 8 * keys);
    expect(of(8, 4095, 1).operations).toBe(8 * of(1, 4095, 1).operations);
    const pairs4 = 4 * 64 * 512 * 640 + 2 * 64 * 128 * 1024;
    expect(of(1, 4095, 1).operations).toBe(2 * 160 + pairs4 + 4 * 64 * 512 * 160);
    expect(of(1, 0, 1000).bytes).toBe(1600);
  });

  it('as many layers as fit: none on nothing, more on more, 61 at most', () => {
    const fit = (free: number): number => layersThatFit(free, shape, 64, 4096);
    expect(fit(1e9)).toBe(0);
    expect(fit(24e9)).toBeGreaterThanOrEqual(2);
    expect(fit(149e9)).toBeGreaterThanOrEqual(30);
    expect(fit(149e9)).toBeLessThan(43); // V4-Flash itself does not fit into one H200
    expect(fit(1e13)).toBe(61);
    expect(layersThatFit(149e9, { ...shape, experts: 64 }, 64, 4096)).toBeGreaterThan(43);
  });
});

describe('a GPU', () => {
  const calls: string[] = [];
  const gpu = {
    ...backend,
    device: 3,
    bench: {
      gpu: { name: 'GPU', driver: '13.0', freeBytes: 7, totalBytes: 9 },
      seconds: (work: () => void) => (work(), calls.push('seconds'), 0.5),
      readRate: () => 4e12,
      matrixRate: (operations: number) => operations,
      packSameExperts: () => ({ bytes: 5 }),
    },
  } as unknown as GpuBackend;

  it('is asked for its own clock, limits and memory', () => {
    const c = gpuContext(gpu, { ...context, device: 3 });
    expect(c.seconds(() => calls.push('work'))).toBe(0.5);
    expect(calls).toEqual(['work', 'seconds']);
    expect(c.ceilings.rate('read', 1, { amount: 1 })).toBe(4e12);
    expect(c.ceilings.rate('mma', 1, { amount: 77 })).toBe(77);
    expect(c.ceilings.rate('copy', 1, { amount: 1 })).toBeGreaterThan(1e6); // measured, through this backend
    expect(c.freeBytes()).toBe(7);
    expect(c.packSameExperts({} as never)).toEqual({ bytes: 5 });
  });

  it('is looked at only while somebody asks', () => {
    const { backend: looked, during } = watched(backend, { description: 'looked at' });
    expect(looked.description).toBe('looked at');
    const seen: string[] = [];
    const out = looked.alloc('f32', [2]);
    const add = (): void => looked.add({ out, x: looked.tensor(Float32Array.of(1, 2)), n: 2 });
    add();
    during((op, args) => seen.push(`${op} ${(args as { n: number }).n}`), add);
    expect(() => during(() => seen.push('thrown'), () => { throw new Error('stop'); })).toThrow('stop'); // prettier-ignore
    add();
    expect(seen).toEqual(['add 2']);
    const sum = new Float32Array(2);
    looked.download(out, 0, 2, sum, 0);
    expect([...sum]).toEqual([3, 6]);
    expect(OP_NAMES.every((name) => typeof looked[name] === 'function')).toBe(true);
  });
});

describe('torch', () => {
  const shapes = peerShapes(false, 256);
  const RECORDED = [
    'a line of a library',
    '{"version": "2.9.0+cu130"}',
    '{"name": "torch-grouped-mm-bf16", "shape": "n=4096 k=4096 experts=256 topk=6 tokens=8", "seconds": 0.00049, "active": 45}',
    '{"name": "torch-scaled-mm-fp8", "shape": "n=4096 k=8192 fp8 rows=1", "seconds": 2.1e-05, "active": 0}',
    '{"name": "torch-attention-bf16", "shape": "", "why": "No available kernel. Aborting execution."}',
    '',
  ].join('\n');

  it('has rows beside the floors of our kernels on the same shapes', () => {
    const heard: string[] = [];
    const rows = peerRows(RECORDED, shapes, { read: 4e12, mma: 7e14 }, (text) => heard.push(text));
    expect(rows).toHaveLength(2);
    expect(rows[0]).toMatchObject({ name: 'torch-grouped-mm-bf16', median: 490, unit: 'us' });
    const bytes = 45 * 4096 * 4096 * (9 / 16) + 48 * (4096 * (9 / 16) + 4 * 4096);
    expect(rows[0]!.ceiling).toBeCloseTo((bytes / 4e12) * 1e6, 6);
    expect(rows[1]!.ceiling).toBeCloseTo(((4096 * 8192 + 4 * 12288) / 4e12) * 1e6, 6);
    expect(heard).toEqual([
      'torch 2.9.0+cu130',
      'not measured: torch-attention-bf16: No available kernel. Aborting execution.',
    ]);
  });

  it('that is not there is said in a word', () => {
    const rates = { read: 1, mma: 1 };
    const none = (): unknown => peerRows('{"error": "torch 2.9.0 finds no GPU"}\n', shapes, rates, () => undefined);
    expect(none).toThrow('torch 2.9.0 finds no GPU');
    expect(() => peerRows('', shapes, rates, () => undefined)).toThrow('it printed no times');
  });

  it('its program is there, and says what is missing as JSON', () => {
    expect(existsSync(torchProgram())).toBe(true);
    let out: string;
    try {
      out = execFileSync('python3', [torchProgram(), JSON.stringify({ device: 0 })], { encoding: 'utf8' });
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOENT'); // no Python on this machine
      return;
    }
    expect(
      out
        .split('\n')
        .filter(Boolean)
        .map((line) => Object.keys(JSON.parse(line) as object)[0]),
    ).toEqual([expect.stringMatching(/^(error|version)$/)]);
  });

  it('missing, the other rows are measured all the same', async () => {
    said.length = 0;
    const rows = await runBench({
      ...{
        backend: 'auto',
        isa: 'auto',
        threads: [1],
        quick: true,
        signal: context.signal,
        shape: 'tiny',
        peer: 'torch',
      },
      step: { ...context.step, layers: 2 },
      gpu: context,
      onRow: () => undefined,
      onSkip: (what, why) => said.push(`${what}: ${why}`),
    });
    expect(rows.some(({ name }) => name === 'gpu-tiny-decode')).toBe(true);
    if (!rows.some(({ name }) => name.startsWith('torch-')))
      expect(said.at(-1)).toMatch(/^peer-torch \(.*\): .*(torch|python)/);
  });
});

it('the history draws a time without a target as the part that its floor is of it', () => {
  const origin = {
    date: '2026-01-02T03:04:05Z',
    commit: '',
    machine: 'GPU, driver for CUDA 13.0',
    runtime: 'node, cuda',
  };
  const row: BenchRow = {
    ...{ name: 'gpu-attend', shape: 'ratio=4', threads: 1, median: 40, unit: 'us', ceiling: 10, fraction: 4 },
  };
  const svg = plotHistory(parseHistory(appendHistory('', origin, [row])));
  const quarter = (0.25 / 1.2) * 420;
  expect(svg).toContain(`width="${quarter.toFixed(1)}"`);
  expect(situationText({ sequences: 8, context: 5, tokens: 1 })).toBe('sequences=8 context=5');
});
