/** A mistake in any operation of the list, and in what else a backend does, is found and named where it is made. */
import { SafetensorsFile } from '@megamoe/checkpoint';
import { OP_NAMES, type OpName, type Tensor } from '@megamoe/ops';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findingText, type Finding, type VerifyOptions, type VerifyResult } from '../src/index';
import { after, attendWrongly, f32, inLayer, instead, verifyPlanted, type Mistake, type Plant } from './planting';
import { ATTENTION, EXPERTS, PRECISIONS, QUANTIZED } from './plants';
import { openMicro, withNvfp4Experts } from './support';

const MICRO = openMicro();
const NVFP4 = withNvfp4Experts(MICRO);
const dir = mkdtempSync(join(tmpdir(), 'megamoe-verify-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const named = (findings: readonly Pick<Finding, 'layer' | 'op'>[]): string[] =>
  findings.filter(({ op }) => op !== 'layer').map(({ layer, op }) => `${layer} ${op}`);
const wanted = (plants: readonly Plant[]): string[] => plants.flatMap((p) => p.ops.map((op) => `${p.layer} ${op}`));

/** Names of operations that were found to be wrong in some test of this file. */
const found = new Set<OpName | null>();

describe.each([
  { of: 'attention', plants: ATTENTION, source: MICRO, o: { everyPrecision: false } },
  { of: 'experts', plants: EXPERTS, source: MICRO, o: { everyPrecision: false } },
  { of: 'inputs in NVFP4', plants: QUANTIZED, source: NVFP4, o: { everyPrecision: false } },
  { of: 'other precisions', plants: PRECISIONS, source: MICRO, o: {} },
])('mistakes of $of, all at once', ({ of, plants, source, o }) => {
  let r: VerifyResult;
  beforeAll(async () => {
    r = await verifyPlanted(source, plants, { tokens: 40, keepGoing: true, dumpDir: join(dir, of), ...o });
    r.findings.forEach((f) => found.add(f.operation));
  });

  it.each(plants)('$name: $ops of layer $layer', ({ layer, ops }) => {
    expect(named(r.findings).filter((f) => wanted([{ layer, ops } as Plant]).includes(f))).toEqual(
      ops.map((op) => `${layer} ${op}`),
    );
    for (const op of ops) expect(r.ops.find((s) => s.layer === layer && s.op === op)).toMatchObject({ passed: false });
  });

  it.each(plants.filter((p) => p.explained))('what explains it: $name', ({ layer, ops, explained }) => {
    const { op, tensors, mistakes } = explained!;
    const finding = r.findings.find((f) => f.layer === layer && f.op === ops[0])!;
    const file = new SafetensorsFile(finding.dump!);
    expect([file.metadata.get('op'), [...file.tensors.keys()].sort().join(' ')]).toEqual([op, tensors]);
    file.close();
    expect(finding.mistakes).toEqual(expect.arrayContaining([...mistakes]));
  });

  it('nothing else is out of bound', () => {
    expect(named(r.findings).sort()).toEqual(wanted(plants).sort());
    expect(r.passed).toBe(false);
  });
});

it('every operation of the list was wrong in some layer, and found', () => {
  expect([...found].filter((name) => name !== null).sort()).toEqual([...OP_NAMES].sort());
});

it('with keepGoing each is found once, where it is first, and calls after it are counted', async () => {
  const [sink, scatter] = ['the sink is missing', 'expert outputs are added without their weights'].map((name) =>
    [...ATTENTION, ...EXPERTS].find((p) => p.name === name)!,
  );
  const r = await verifyPlanted(MICRO, [sink!, scatter!], {
    ...{ tokens: 24, decode: 1, keepGoing: true, everyPrecision: false },
  });
  // The layer as a whole after its operations.
  expect(r.findings.map((f) => `${f.layer} ${f.op} ${f.step.kind}`)).toEqual([
    '0 attn.attend prefill',
    '4 ffn.scatter prefill',
    '0 layer prefill',
    '4 layer prefill',
  ]);
  expect(r.ops.find((o) => o.layer === 4 && o.op === 'ffn.scatter')).toMatchObject({ passed: false, calls: 2 });
  expect(r.ops.find((o) => o.layer === 3 && o.op === 'ffn.scatter')).toMatchObject({ passed: true, calls: 2 });
});

describe('a mistake that ends the run', () => {
  const verify = (mistake: Mistake, o: Partial<VerifyOptions> & { tokens: number }): Promise<VerifyResult> =>
    verifyPlanted(MICRO, [{ mistake }], { everyPrecision: false, ...o });

  it('the first operation out of bound is the last that runs', async () => {
    const plants = [...ATTENTION, ...EXPERTS].filter((p) => p.layer !== null && p.layer > 1);
    const r = await verifyPlanted(MICRO, plants, { tokens: 40, everyPrecision: false });
    expect(named(r.findings)).toEqual(['2 attn.q_norm']);
    expect(r.ops.at(-1)).toMatchObject({ layer: 2, op: 'attn.q_norm', passed: false });
    expect(r.ops.filter((o) => !o.passed)).toHaveLength(1);
  });

  it('an element that is not written', async () => {
    const r = await verify(
      (right, now) => ({
        linear(args) {
          const before = f32(args.out)[5]!;
          right.linear(args);
          if (now.layer === 1 && args.w.name.endsWith('wq_a')) f32(args.out)[5] = before;
        },
      }),
      { tokens: 12 },
    );
    expect(named(r.findings)).toEqual(['1 attn.wq_a']);
    expect(r.findings[0]!.worst).toMatchObject({ index: [0, 5], got: NaN });
  });

  it('an input that is changed', async () => {
    const r = await verify(
      after('add', inLayer(3), ({ x }) => (f32(x)[3]! += 1)),
      { tokens: 12, keepGoing: true },
    );
    expect(named(r.findings)).toEqual(['3 ffn.add_shared']);
    expect(findingText(r.findings[0]!)).toMatch(
      /layer 3, ffn\.add_shared \(prefill\): it changed its own input, written by ffn\.shared\.w2, at element 3$/,
    );
  });

  it('a tensor that is none of its own', async () => {
    let streams: Tensor | undefined;
    const r = await verify(
      (right, now) => ({
        hcPre: (args) => right.hcPre(((streams = args.streams), args)),
        scatterExperts(args) {
          right.scatterExperts(args);
          if (now.layer === 2) f32(streams!)[7]! += 1;
        },
      }),
      { tokens: 12, keepGoing: true },
    );
    expect(named(r.findings)).toEqual(['2 hc_ffn.post']);
    expect(r.findings[0]!.message).toMatch(
      /its input was changed after hc_attn\.post had written it: element 7 .*wrote outside its output:.* ffn\.scatter/,
    );
  });

  it('keys of another layer', async () => {
    const r = await verify(
      after('writeWindow', inLayer(4), ({ cache, layer }) => (f32(cache.part(layer - 1, 'entries'))[0] = 7)),
      { tokens: 140, maxChunk: 130, keepGoing: true },
    );
    expect(named(r.findings)).toEqual(['3 attn.compressor.pool']);
    expect(r.findings[0]!.output).toBe('earlier entries');
  });

  it('numbers that nothing can be computed from', async () => {
    const careless: Mistake = (right) => ({
      swigluStage(args) {
        try {
          right.swigluStage(args);
        } catch {
          // goes on, as a device does that does not look at its data
        }
      },
    });
    const isFirst = ({ w }: { w: { name: string } }): boolean => w.name.endsWith('.w1w3');
    const mistake = after(
      'groupedGemm',
      (a, now) => now.layer === 1 && isFirst(a),
      ({ out }) => (f32(out)[9] = NaN),
    );
    const r = await verifyPlanted(NVFP4, [{ mistake }, { mistake: careless }], {
      ...{ tokens: 12, keepGoing: true, everyPrecision: false },
    });
    expect(named(r.findings)).toEqual(['1 ffn.w13.gemm', '1 ffn.w2.stage']); // SwiGLU of NaN is NaN
    expect(r.findings[1]!.message).toMatch(/^the reference cannot judge it: quantizeNvfp4: "x"/);
  });

  it('an operation that throws', async () => {
    const device = (): never => {
      throw new Error('device lost');
    };
    const r = await verify(instead('writeWindow', inLayer(2), device), { tokens: 12, keepGoing: true });
    expect(r.findings).toMatchObject([{ layer: 2, op: 'attn.window', operation: 'writeWindow', error: Infinity }]);
    expect(r.findings[0]!.message).toBe('the backend threw: device lost');
    const planned = await verify(() => ({ planStep: device }), { tokens: 12, keepGoing: true });
    expect(named(planned.findings)).toEqual(['null plan']);
  });
});

describe('a mistake that only decoding shows', () => {
  const decode = (mistake: Mistake): Promise<VerifyResult> =>
    verifyPlanted(MICRO, [{ mistake }], { tokens: 30, decode: 2, everyPrecision: false });

  it('a window that is short from the second step on', async () => {
    const r = await decode(
      instead(
        'attend',
        (_, now) => now.layer === 4 && now.step > 1,
        (args, b, now) => attendWrongly(args, b, now, { window: MICRO.config.slidingWindow - 1 }),
      ),
    );
    expect(named(r.findings)).toEqual(['4 attn.visible']);
    expect(r.findings[0]!.step).toEqual({ kind: 'decode', position: 30, tokens: 1 });
  });

  it('memory of the first sequence read for all', async () => {
    const r = await decode(
      instead('attend', inLayer(3), (args, b, now) => attendWrongly(args, b, now, { sequence: () => 0 })),
    );
    expect(named(r.findings)).toEqual(['3 attn.visible']);
    expect(r.findings[0]!.step).toMatchObject({ kind: 'decode', position: 30 });
    expect(r.findings[0]!.worst!.index[0]).toBeGreaterThan(0); // the first row is the first sequence's
  });

  it('a page that is copied without its last row', async () => {
    const r = await decode((right) => ({
      createCache(layers) {
        const cache = right.createCache(layers);
        const copy = cache.copyPage.bind(cache);
        cache.copyPage = (kind, from, to, rows) => copy(kind, from, to, rows - 1);
        return cache;
      },
    }));
    expect(named(r.findings)).toEqual(['0 attn.window']);
    expect(r.findings[0]!.step.kind).toBe('decode');
  });

  it('a step that wants other rows', async () => {
    const r = await decode((right) => ({
      planStep(step, ...rest) {
        right.planStep(step, ...rest);
        if (step.sequences === 2) right.upload(step.wantedRows, 1, [0], 0, 1);
      },
    }));
    expect(named(r.findings)).toEqual(['null plan']);
    expect(r.findings[0]!.output).toBe('wanted_rows');
  });
});

describe('where a single operation is not to blame', () => {
  it('a weight that was spoilt at the load is found by the layer as a whole', async () => {
    const { source, name } = { source: MICRO, name: 'layers.2.ffn_norm.weight' };
    const right = source.vector(name, MICRO.config.hiddenSize);
    const r = await verifyPlanted(
      source,
      [
        {
          mistake: (b) => ({
            tensor: (data, shape) =>
              b.tensor(data instanceof Float32Array && same(data, right) ? data.map((v) => v * 1.01) : data, shape),
          }),
        },
      ],
      { tokens: 20, everyPrecision: false },
    );
    expect(r.findings.map(({ layer, op, operation }) => [layer, op, operation])).toEqual([[2, 'layer', null]]);
    expect(r.findings[0]!.error).toBeGreaterThan(1e-6); // the bound is 1e-8
  });
});

function same(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}
