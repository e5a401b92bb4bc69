/** Right backends pass, at every precision, and the run says what it reached. */
import { createBackend } from '@megamoe/model';
import type { WeightSource } from '@megamoe/layers';
import { OP_NAMES, overlaid, type Backend } from '@megamoe/ops';
import { beforeAll, describe, expect, it } from 'vitest';
import { findingText, verdictText, verifyBackend, type VerifyOptions, type VerifyResult } from '../src/index';
import { inFormats, isExpert, openMicro, someTokens, withNvfp4Experts } from './support';

const MICRO = openMicro();
const NVFP4 = withNvfp4Experts(MICRO);
const { vocabSize } = MICRO.config;

const verify = (tokens: number, o: Partial<VerifyOptions> = {}): Promise<VerifyResult> =>
  verifyBackend({
    ...{ source: MICRO, backend: createBackend(), tokenIds: someTokens(tokens, vocabSize), decode: 1, keepGoing: true },
    ...o,
  });

/** The backend with the result of the first product of attention in layer 0 doubled. */
const doubled = (backend: Backend): Backend =>
  overlaid(backend, {
    linear(args) {
      backend.linear(args);
      if (args.w.name !== 'layers.0.attn.wq_a') return;
      const n = args.rows * args.w.groups * args.w.n;
      const y = new Float32Array(n);
      backend.download(args.out, 0, n, y, 0);
      backend.upload(
        args.out,
        0,
        y.map((v) => 2 * v),
        0,
        n,
      );
    },
  });

const failed = async (source: WeightSource, backend: Backend, o: Partial<VerifyOptions> = {}): Promise<unknown[]> => {
  const { ops } = await verify(12, { source, backend: doubled(backend), decode: 0, everyPrecision: false, ...o });
  return ops.filter((op) => !op.passed && op.op !== 'layer').map(({ layer, op }) => [layer, op]);
};

/** A backend without some of its methods. */
function lacking(methods: readonly string[]): Backend {
  const kept = Object.entries(createBackend({ backend: 'js' })).filter(([name]) => !methods.includes(name));
  return Object.fromEntries(kept) as never;
}

const said = (r: VerifyResult): string[] => r.findings.map(findingText);

describe('precisions', () => {
  it.each([
    ['W4A16', { activations: 'float' }, 'float', 'f32', 'roundings'],
    ['inputs in BF16', { activations: 'float', floatInputs: 'bf16' }, 'float', 'bf16', 'roundings'],
    ['dynamic input scales', { inputScales: 'dynamic' }, 'nvfp4-dynamic', 'nvfp4', 'ulp'],
  ] as const)('agrees with the reference on %s', async (_, o, activations, inputs, metric) => {
    const r = await verify(6, { source: NVFP4, ...o });
    expect(said(r)).toEqual([]);
    expect(r.activations).toBe(activations);
    expect(r.ops.find((op) => op.op === 'ffn.w13.gemm')).toMatchObject({ metric, inputs });
    const exact = r.ops.filter((op) => /^ffn\.gate$|compressor\.w|^head$/.test(op.op));
    expect(new Set(exact.map((op) => op.inputs))).toEqual(new Set(['f32'])); // never rounded
  });

  it('every run judges all of them, in each layer', async () => {
    const r = await verify(6, { source: NVFP4, decode: 0 });
    const others = [
      'linear.bf16',
      ...['stage', 'swigluStage'].flatMap((op) => ['f32', 'bf16', 'nvfp4'].map((p) => `${op}.${p}`)),
    ];
    for (const op of [...others, 'groupedGemm.f32', 'groupedGemm.bf16']) {
      const layers = r.ops.filter((o) => o.op === op && o.layer !== null);
      expect(
        layers.map((o) => o.layer),
        op,
      ).toEqual([0, 1, 2, 3, 4, 5]);
      expect(layers.every((o) => o.passed && o.elements > 0 && `${o.operation}.${o.inputs}` === op)).toBe(true);
    }
    const plain = await verify(6, { source: NVFP4, decode: 0, everyPrecision: false });
    expect(plain.ops.filter((o) => /\.(f32|bf16|nvfp4)$/.test(o.op))).toEqual([]);
  });
});

describe('formats', () => {
  const isProjection = (module: string): boolean =>
    /\.attn\.(?:wq_a|wq_b|wkv|wo_a|wo_b|indexer\.wq_b)$|\.shared_experts\./.test(module);

  it.each([
    ['FP8 with E8M0 scales, MXFP4 experts', 'fp8-e8m0', 'mxfp4'],
    ['FP8 with float32 scales, experts too', 'fp8-f32', 'fp8-f32'],
    ['BF16', 'bf16', 'bf16'],
  ] as const)('%s agrees with the reference, and an error in a product is named', async (_, dense, experts) => {
    const source = inFormats(MICRO, (m) => (isExpert(m) ? experts : isProjection(m) ? dense : 'f32'));
    for (const backend of ['js', 'auto'] as const) {
      const r = await verify(12, { source, backend: createBackend({ backend }) });
      expect(said(r)).toEqual([]);
      const products = r.ops.filter((o) => o.op === 'attn.wq_a');
      expect(products).toHaveLength(6);
      for (const o of products) {
        expect(o.metric).toBe('roundings'); // float sums in any order: never more than the bound, and not a copy of the reference
        expect(o.error).toBeGreaterThan(0);
      }
      expect(await failed(source, createBackend({ backend }))).toEqual([[0, 'attn.wq_a']]);
    }
  });

  it.each(['static', 'dynamic'] as const)(
    'dense W4A4 with %s input scales: bit for bit, and an error is named',
    async (inputScales) => {
      const source = inFormats(MICRO, (m) => (isExpert(m) || isProjection(m) ? 'nvfp4' : 'f32'));
      for (const backend of ['js', 'auto'] as const) {
        const r = await verify(12, { source, inputScales, backend: createBackend({ backend }) });
        expect(said(r)).toEqual([]);
        const products = r.ops.filter((o) => o.op === 'attn.wq_a');
        expect(products).toHaveLength(6);
        for (const o of products) {
          expect(o).toMatchObject({ metric: 'ulp', error: 0, bound: 0, maxUlp: 0, calls: 2 });
          expect(o.ulpFromExact).toBeGreaterThan(0);
        }
        expect(r.coverage.gaps).toContain('layers as a whole: dense modules have quantized inputs');
        const wrong = await failed(source, createBackend({ backend }), { inputScales });
        expect(wrong).toEqual([[0, 'attn.wq_a']]);
      }
    },
  );

  it('an embedding that is the head, too, is called by what it does', async () => {
    const source = { ...inFormats(MICRO, () => 'f32'), config: { ...MICRO.config, tieWordEmbeddings: true } };
    const r = await verify(4, { source });
    expect(said(r)).toEqual([]);
    const ends = r.ops.filter((o) => o.layer === null).map((o) => o.op);
    expect(ends).toEqual(expect.arrayContaining(['embed', 'head']));
  });
});

describe('a long prompt in chunks', () => {
  let r: VerifyResult;
  beforeAll(async () => {
    r = await verify(131, { decode: 2, maxChunk: 50 });
  });

  it('agrees past the window and past a compressed window of 128, and says what it reached', () => {
    expect(said(r)).toEqual([]);
    expect(verdictText(r, 'it')).toMatch(/^All \d+ operations of it agree .* on 131 prompt and 2 decoded tokens\.$/);
    expect(r.tokenIds).toHaveLength(133);
    expect(r.coverage).toMatchObject({
      ...{ promptTokens: 131, decodedTokens: 2, pastWindow: 6 * (133 - 16), entries: { 4: 33, 128: 1 }, gaps: [] },
      indexerChose: 2 * (133 - 35), // two CSA layers; nine entries to choose from (topk 8) from position 35 on
      ...{ experts: { fewest: 8, most: 8, of: 8 }, sequences: 2 },
    });
    expect(r.ops.filter((o) => o.op === 'layer').map((o) => o.layer)).toEqual([0, 1, 2, 3, 4, 5]);
    for (const o of r.ops) expect(Number.isFinite(o.error), o.op).toBe(true);
  });

  it('every operation of the list was judged', () => {
    expect(Object.keys(r.coverage.operations)).toEqual(OP_NAMES);
    for (const [name, calls] of Object.entries(r.coverage.operations)) expect(calls, name).toBeGreaterThan(0);
  });

  it('operations are called by what they work on', () => {
    expect([...new Set(r.ops.map((o) => o.op))].filter((op) => OP_NAMES.includes(op as never))).toEqual(['embed']);
    expect(r.ops.filter((o) => o.op.startsWith('attn.') && o.layer === null)).toEqual([]);
  });
});

it('says what a short prompt cannot show', async () => {
  const { coverage } = await verify(3, { decode: 0 });
  expect(coverage.gaps).toEqual([
    'no query was past the window of 16 tokens',
    'no window of 4 tokens was closed',
    'no window of 128 tokens was closed',
    'the indexer never had more than index_topk = 8 entries to choose from',
    expect.stringMatching(/^a layer used only \d of its 8 experts$/),
    'no token was decoded',
  ]);
  const alone = await verify(3, { maxChunk: 2 });
  expect(alone.coverage).toMatchObject({ sequences: 1, gaps: expect.arrayContaining(['no step had two sequences']) });
});

describe('backends of all makes', () => {
  it('one that does not show what it staged is judged by its products', async () => {
    const bare = lacking(['readStaged']);
    const r = await verify(6, { source: NVFP4, backend: bare });
    expect(said(r)).toEqual([]);
    expect(r.coverage.gaps).toContain(
      'stage, swigluStage: the backend has no readStaged; judged with the product after it alone',
    );
    const wrong = await verify(6, {
      source: NVFP4,
      backend: overlaid(bare, { stage: (a) => bare.stage({ ...a, globalDecodeScale: null }) }),
    });
    expect(wrong.findings[0]).toMatchObject({ layer: 0, op: 'ffn.w13.gemm', operation: 'groupedGemm' });
  });

  it('one that is a class with fields of its own', async () => {
    class Own {
      readonly #right = createBackend({ backend: 'js' });
      call(method: keyof Backend, args: unknown[]): unknown {
        return (this.#right[method] as (...args: unknown[]) => unknown)(...args);
      }
    }
    for (const [method, value] of Object.entries(createBackend({ backend: 'js' }))) {
      const own = function (this: Own, ...args: unknown[]): unknown {
        return this.call(method as keyof Backend, args);
      };
      Object.assign(Own.prototype, { [method]: typeof value === 'function' ? own : value });
    }
    expect(said(await verify(3, { backend: new Own() as never, decode: 0 }))).toEqual([]);
  });

  it('one that lacks operations is refused, with their names', async () => {
    await expect(verify(3, { backend: lacking(['attend', 'compress']) })).rejects.toThrow(
      'verifyBackend: "backend" lacks operations of the list in @megamoe/ops: compress, attend',
    );
  });
});

describe('options', () => {
  it.each([
    [{ tokenIds: [] }, /"tokenIds" is empty; give at least one token/],
    [{ tokenIds: [1, 160] }, /"tokenIds" must hold token ids in \[0, 160\), got 160 at index 1/],
    [{ decode: 5000 }, /3 tokens and 5000 to decode do not fit: the model takes 4096/],
    [{ decode: -1 }, /"decode"/],
    [{ maxChunk: 0 }, /"maxChunk"/],
    [{ floatInputs: 'f16' as never }, /"floatInputs" must be one of f32, bf16/],
  ])('%j is refused', async (o, message) => {
    await expect(verify(3, o)).rejects.toThrow(message);
  });

  it('tells how far it is, and stops when asked to', async () => {
    const told: string[] = [];
    await verify(3, { onProgress: (done, total, what) => told.push(`${done}/${total} ${what}`) });
    expect(told[0]).toBe('0/8 prefill from token 0');
    expect(told.slice(1, 3)).toEqual(['1/8 decode 1', '2/8 layer 0 as a whole']);
    expect(told.at(-1)).toBe('8/8 done');
    const abort = new AbortController();
    const stopped = verify(3, { signal: abort.signal, onProgress: () => abort.abort(new Error('enough')) });
    await expect(stopped).rejects.toThrow('enough');
  });
});
