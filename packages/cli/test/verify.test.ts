import { createBackend, ISAS, type BackendOptions } from '@megamoe/model';
import { repositoryFile } from '@megamoe/testkit';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { reportHtml } from '../src/verify/report-html';
import { findingText, reportText, verdictText, type VerifyReport } from '../src/verify/report';
import { verifyModel, withCheckpoint, type VerifyResult } from '../src/verify/run';
import { expectOfflinePage } from './html-checks';
import { cli, MICRO, temporaryFolder, TINY, type Ran } from './support';

const dir = temporaryFolder();

/** Every backend and instruction set of this machine. */
const BACKENDS: BackendOptions[] = [
  { backend: 'js' } as const,
  ...ISAS.filter((isa) => isa !== 'auto').map((isa) => ({ backend: 'cpu', isa, threads: 2 }) as const),
].filter((o) => {
  try {
    return createBackend(o) !== undefined;
  } catch {
    return false; // an instruction set that this processor does not have
  }
});

function verify(
  model: string,
  backend: BackendOptions,
  o: { tokens: number; decode: number; activations?: 'nvfp4' | 'float'; dynamic?: boolean; maxChunk?: number },
): Promise<VerifyResult> {
  return withCheckpoint(model, (source) =>
    verifyModel({
      source,
      ops: createBackend(backend),
      activations: o.activations ?? 'nvfp4',
      inputScales: o.dynamic ? 'dynamic' : 'static',
      tokenIds: Array.from({ length: o.tokens }, (_, i) => (11 + i * 37 + ((i * i) % 13)) % source.config.vocabSize),
      decode: o.decode,
      maxChunk: o.maxChunk ?? 256,
      keepGoing: true,
    }),
  );
}

it('both backends are here, and generic kernels', () => {
  expect(BACKENDS.map((b) => b.isa ?? b.backend)).toEqual(expect.arrayContaining(['js', 'generic']));
});

describe.each(BACKENDS)('%o', (backend) => {
  it('agrees with the reference on the trained NVFP4 model', async () => {
    const r = await verify(TINY, backend, { tokens: 10, decode: 1 });
    expect(r.findings.map(findingText)).toEqual([]);
    const gemms = r.ops.filter((o) => o.op === 'ffn.w13.gemm' || o.op === 'ffn.w2.gemm');
    expect(gemms).toHaveLength(12);
    for (const g of gemms) {
      expect(g).toMatchObject({ metric: 'ulp', error: 0, bound: 0, maxUlp: 0, calls: 2 });
      expect(g.ulpFromExact).toBeGreaterThan(0); // alpha's product rounds: it is compared with something that does not
      expect(g.ulpFromExact).toBeLessThan(64);
    }
  });
});

it.each([
  ['W4A16', { activations: 'float' }, 'float', 'roundings'],
  ['dynamic input scales', { dynamic: true }, 'nvfp4-dynamic', 'ulp'],
] as const)('agrees with the reference on %s', async (_, o, activations, metric) => {
  const r = await verify(TINY, { backend: 'auto' }, { tokens: 6, decode: 1, ...o });
  expect(r.findings.map(findingText)).toEqual([]);
  expect(r.activations).toBe(activations);
  expect(r.ops.find((op) => op.op === 'ffn.w13.gemm')!.metric).toBe(metric);
});

it('agrees past the window, past a compressed window of 128, in chunks, and says what it reached', async () => {
  const r = await verify(MICRO, { backend: 'auto' }, { tokens: 131, decode: 2, maxChunk: 50 });
  expect(r.findings.map(findingText)).toEqual([]);
  expect(r.tokenIds).toHaveLength(133);
  expect(r.coverage).toMatchObject({
    ...{ promptTokens: 131, decodedTokens: 2, pastWindow: 6 * (133 - 16), entries: { 4: 33, 128: 1 }, gaps: [] },
    indexerChose: 2 * (133 - 35), // two CSA layers; nine entries to choose from (topk 8) from position 35 on
    experts: { fewest: 8, most: 8, of: 8 },
  });
  const layers = r.ops.filter((o) => o.op === 'layer');
  expect(layers.map((o) => o.layer)).toEqual([0, 1, 2, 3, 4, 5]);
  for (const o of r.ops) expect(Number.isFinite(o.error), o.op).toBe(true);
  // Every operation of the interface that computes was seen.
  expect(new Set(r.ops.map((o) => o.op)).size).toBe(49);
});

it('says what a short prompt cannot show', async () => {
  const { coverage } = await verify(MICRO, { backend: 'auto' }, { tokens: 3, decode: 0 });
  expect(coverage.gaps).toEqual([
    'no query was past the window of 16 tokens',
    'no window of 4 tokens was closed',
    'no window of 128 tokens was closed',
    'the indexer never had more than index_topk = 8 entries to choose from',
    expect.stringMatching(/^a layer used only \d of its 8 experts$/),
    'no token was decoded',
  ]);
});

describe('megamoe verify', () => {
  const html = join(dir, 'verify.html');
  let ran: Ran;
  let report: VerifyReport;
  beforeAll(async () => {
    ran = await cli('verify', '--json', '--html', html);
    report = JSON.parse(ran.out) as VerifyReport;
  });

  it('runs its own prompt on the shipped model: all parts are reached, all agree', () => {
    expect(ran.code).toBe(0);
    expect(report.passed).toBe(true);
    expect(report.first).toBeNull();
    expect(report.coverage.gaps.filter((g) => !/experts$/.test(g))).toEqual([]);
    expect(report.coverage.promptTokens).toBeGreaterThan(192); // window and HCA ratio together
    expect(ran.err).toContain('megamoe: backend ');
    expect(ran.err).toContain(`megamoe: wrote ${html}`);
  });

  it('prints what the root README shows of it; what differs between instruction sets apart', () => {
    const readme = readFileSync(repositoryFile('README.md'), 'utf8');
    const [, shown] = /\$ npx megamoe verify\n([\s\S]*?)\n\n/.exec(readme)!;
    const printed = reportText(report).split('\n');
    const known = (line: string): string => {
      if (line.startsWith('All ')) return line.replace(/ of cpu \(.*?\) | of js \(.*?\) /, ' of BACKEND ');
      return / equal( |$)/.test(line)
        ? line.trimEnd()
        : (/^ok +\S+ +\d+ +\d+ /.exec(line)?.[0].trimEnd() ?? line.trimEnd());
    };
    const lines = shown!.split('\n').filter((line) => line !== '...');
    expect(lines.length).toBeGreaterThan(6);
    const words = (line: string): string => known(line).replace(/ +/g, ' ');
    expect(printed.map(words)).toEqual(expect.arrayContaining(lines.map(words)));
  });

  it('writes a page that needs nothing else', () => {
    const page = readFileSync(html, 'utf8');
    expectOfflinePage(page);
    expect(page).toContain('class="verdict good"');
    expect(page.match(/<tr><th scope="row">/g)!.length).toBeGreaterThan(40); // heat map rows
    expect(page).toContain('<th scope="col">5</th>');
    expect(page.match(/<figure>/g)!.length).toBeGreaterThan(25);
    expect(page).not.toContain('class="bad"');
  });

  it('prints a table', async () => {
    const { code, out } = await cli('verify', '--model', MICRO, '--token-ids', '1,2,3', '--decode', '0');
    expect(code).toBe(0);
    expect(out).toMatch(/^ok +attn\.wq_a +6 +\d+ +1\.000000000 /m);
    expect(out).toContain('not verified: no token was decoded');
    expect(out).toMatch(/All \d+ operations of .* agree with the reference on 3 prompt and 0 decoded tokens\.\n$/);
  });

  it.each([
    [['--model', MICRO], 2, /no tokenizer\.json; give --token-ids/],
    [['--prompt', 'a', '--token-ids', '1'], 2, /not both/],
    [['--model', MICRO, '--token-ids', '1,160'], 2, /token id 160 at index 1 is not in \[0, 160\)/],
    [['--model', MICRO, '--token-ids', '1', '--decode', '4096'], 2, /1 tokens and 4096 to decode do not fit/],
    [['--model', join(dir, 'nowhere')], 1, /nowhere/],
    [['--isa', 'mmx'], 2, /Allowed choices/],
  ])('%j fails', async (argv, code, message) => {
    const got = await cli('verify', ...argv);
    expect(got.err).toMatch(message);
    expect(got.code).toBe(code);
    expect(got.out).toBe('');
  });

  it('a failure is told in the text and stands out on the page', () => {
    const layer = report.ops.findIndex((o) => o.op === 'attn.attend' && o.layer === 2);
    const worst = { index: [3, 1, 0], got: 0.5, want: 0.25 };
    const failed = { ...report.ops[layer]!, passed: false, error: 4194304, bound: 100, worst };
    const finding = {
      ...{ layer: 2, op: 'attn.attend', step: { kind: 'decode', position: 200, tokens: 1 } as const, output: 'out' },
      ...{
        metric: 'roundings' as const,
        error: 4194304,
        bound: 100,
        reason: 'because',
        worst,
        mistakes: ['a-b'],
        dump: 'd/<x>.safetensors',
      },
    };
    const thrown = {
      ...finding,
      op: 'attn.window',
      error: Infinity,
      worst: null,
      message: 'the backend threw: no <memory>',
    };
    const bad: VerifyReport = {
      ...{ ...report, passed: false, first: finding, findings: [finding, thrown], warnings: ['odd & old'] },
      ops: report.ops.with(layer, failed),
    };
    const sentence =
      'layer 2, attn.attend (decode at position 200): out[3, 1, 0] is 0.5, should be 0.25; 4.2e+6 roundings where at most 100 may be (because); this is what a-b gives; more: megamoe explain d/<x>.safetensors';
    expect(verdictText(bad)).toBe(`First out of bound (and 1 more): ${sentence}`);
    expect(reportText(bad)).toMatch(/^BAD +attn\.attend .* 2$/m);
    const page = reportHtml(bad, 'megamoe verify');
    expectOfflinePage(page);
    expect(page).toContain('class="verdict bad"');
    expect(page.match(/<td class="bad"/g)).toHaveLength(1);
    expect(page).toContain('no &lt;memory&gt;');
    expect(page).toContain('odd &amp; old');
  });
});
