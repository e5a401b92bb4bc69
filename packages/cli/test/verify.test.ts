import { openCheckpoint } from '@megamoe/checkpoint';
import { createBackend } from '@megamoe/model';
import { observed } from '@megamoe/ops';
import { repositoryFile } from '@megamoe/testkit';
import { verdictText, verifyBackend } from '@megamoe/verify';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { reportHtml } from '../src/verify/report-html';
import { reportText, type VerifyReport } from '../src/verify/report';
import { expectOfflinePage } from './html-checks';
import { cli, MICRO, temporaryFolder, type Ran } from './support';

const dir = temporaryFolder();

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
    expect(Object.values(report.coverage.operations).every((calls) => calls > 0)).toBe(true);
    const layers = report.ops.filter((o) => o.op === 'ffn.w13.gemm');
    expect(layers.length).toBeGreaterThan(0);
    for (const o of layers) expect(o).toMatchObject({ operation: 'groupedGemm', inputs: 'nvfp4', error: 0, bound: 0 });
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

  it('explain finds in a dump what verify found', async () => {
    const source = openCheckpoint(MICRO);
    const right = createBackend({ backend: 'js' });
    const sinks = right.tensor(new Float32Array(source.config.numAttentionHeads).fill(-Infinity));
    const backend = observed(right, { attend: (args) => right.attend({ ...args, sinks }) });
    const tokenIds = [5, 4, 3, 2, 1];
    const { findings } = await verifyBackend({ source, backend, tokenIds, decode: 0, dumpDir: join(dir, 'dumps') });
    source.close();
    expect(findings[0]!.mistakes).toContain('attention-sink-missing');
    const { out } = await cli('explain', findings[0]!.dump!, '--json');
    expect((JSON.parse(out) as { mistakes: { id: string }[] }).mistakes.map((m) => m.id)).toEqual(
      findings[0]!.mistakes,
    );
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
      ...{
        layer: 2,
        op: 'attn.attend',
        operation: 'attend' as const,
        step: { kind: 'decode', position: 200, tokens: 1 } as const,
        output: 'out',
      },
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
    expect(verdictText(bad, bad.backend)).toBe(`First out of bound (and 1 more): ${sentence}`);
    expect(reportText(bad)).toMatch(/^BAD +attn\.attend .* 2$/m);
    const page = reportHtml(bad, 'megamoe verify');
    expectOfflinePage(page);
    expect(page).toContain('class="verdict bad"');
    expect(page.match(/<td class="bad"/g)).toHaveLength(1);
    expect(page).toContain('no &lt;memory&gt;');
    expect(page).toContain('odd &amp; old');
  });
});
