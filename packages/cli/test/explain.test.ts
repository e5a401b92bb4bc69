import { writeSafetensors, type TensorToWrite } from '@megamoe/checkpoint';
import { MISTAKES } from '@megamoe/reference';
import { repositoryFile } from '@megamoe/testkit';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli, temporaryFolder } from './support';

const dir = temporaryFolder();
const docs = readFileSync(repositoryFile('packages/cli/docs/dumps.md'), 'utf8');
const snippet = (language: string): string => new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(docs)![1]!;

interface Answer {
  op: string;
  agrees: boolean;
  mistakes: { id: string; cosine: number; maxAbs: number; evidence: string; rule: string }[];
  nearest: { id: string }[];
}

async function explained(file: string): Promise<Answer> {
  const { code, out, err } = await cli('explain', file, '--json');
  expect([code, err]).toEqual([0, '']);
  return JSON.parse(out) as Answer;
}

/** Residual streams of one token that mix: rightly, transposed, or with noise. */
async function mixDump(
  name: string,
  kind: 'right' | 'transposed' | 'noise' | 'nan',
  change: Partial<Record<string, TensorToWrite>> = {},
): Promise<string> {
  const comb = [0.1, 0.7, 0.4, 0.3];
  const streams = [1, 2, 3, -1, 5, 0.5];
  const out = [1, 1, 2];
  const mixed = Float32Array.from({ length: 6 }, (_, at) => {
    const [k, c] = [Math.floor(at / 3), at % 3];
    const weight = (j: number): number => comb[kind === 'transposed' ? k * 2 + j : j * 2 + k]!;
    const noise = kind === 'noise' ? Math.sin(at + 1) : 0;
    return (k + 0.5) * out[c]! + weight(0) * streams[c]! + weight(1) * streams[3 + c]! + noise;
  });
  if (kind === 'nan') mixed[2] = NaN;
  const f32 = (tensor: string, shape: number[], data: ArrayLike<number>): TensorToWrite => ({
    name: tensor,
    dtype: 'F32',
    shape,
    data: Float32Array.from(data),
  });
  const tensors = [
    f32('in.streams', [1, 2, 3], streams),
    f32('in.out', [1, 3], out),
    f32('in.post', [1, 2], [0.5, 1.5]),
    f32('in.comb', [1, 2, 2], comb),
    f32('out.streams', [1, 2, 3], mixed),
  ].map((t) => change[t.name] ?? t);
  const file = join(dir, name);
  await writeSafetensors(file, tensors, { metadata: { op: 'residual_mix' } });
  return file;
}

describe('megamoe explain', () => {
  it('--json has what the contract says, and nothing else', async () => {
    const wrong = await explained(await mixDump('wrong.safetensors', 'transposed'));
    expect(Object.keys(wrong)).toEqual([
      ...['op', 'agrees', 'level', 'compared', 'elements', 'mistakes', 'nearest', 'notes'],
    ]);
    expect(wrong).toMatchObject({ op: 'residual_mix', agrees: false, mistakes: [{ id: 'residual-comb-transposed' }] });
    expect(Object.keys(wrong.mistakes[0]!)).toEqual(['id', 'cosine', 'maxAbs', 'evidence', 'rule']);
    expect(wrong.mistakes[0]!.cosine).toBeCloseTo(1, 12);
    expect(wrong.mistakes[0]!.maxAbs).toBeLessThan(1e-6);
    const right = await explained(await mixDump('right.safetensors', 'right'));
    expect(right).toEqual({
      ...{ op: 'residual_mix', agrees: true, level: 'float32', compared: 6, elements: 6 },
      ...{ mistakes: [], nearest: [], notes: [] },
    });
  });

  it('speaks to people', async () => {
    const { out: wrong } = await cli('explain', await mixDump('a.safetensors', 'transposed'));
    expect(wrong).toMatch(
      /^residual_mix: a known mistake reproduces the output.\nThe right computation: cosine 0\.\d+, max abs [\d.]+, 6 of 6 elements differ.\n/,
    );
    expect(wrong).toMatch(
      /1. residual-comb-transposed {3}cosine 1.0+, max abs .*\n {3}Reproduces all 6 elements .*\n {3}Right: new\[k\] = /,
    );
    expect((await cli('explain', await mixDump('b.safetensors', 'right'))).out).toBe(
      'residual_mix: agrees. The right computation reproduces all of 6 elements within the precision of the output.\n',
    );
    const { out: unknown } = await cli('explain', await mixDump('c.safetensors', 'noise'));
    expect(unknown).toMatch(/^residual_mix: none of the known mistakes reproduces the output.\n/);
    expect(unknown).toMatch(/nearest +cosine +max abs/);
    expect((await cli('explain', await mixDump('d.safetensors', 'nan'))).out).toMatch(
      /Note: out.streams holds 1 NaN and 0 infinite elements/,
    );
  });

  it.each([
    [
      'truncated',
      () => writeFileSync(join(dir, 'truncated'), readFileSync(join(dir, 'right.safetensors')).subarray(0, 300)),
      /truncated/,
    ],
    ['nothing', () => undefined, /cannot be opened/],
    ['empty', () => writeFileSync(join(dir, 'empty'), ''), /not a safetensors file/],
  ])('says what is wrong with a %s file', async (name, make, message) => {
    make();
    const { code, err, out } = await cli('explain', join(dir, name));
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(message);
  });

  it('names tensor, expected and found shape', async () => {
    const bad: TensorToWrite = { name: 'in.post', dtype: 'F32', shape: [1, 3], data: new Float32Array(3) };
    const { code, err } = await cli('explain', await mixDump('shape.safetensors', 'right', { 'in.post': bad }));
    expect(code).toBe(1);
    expect(err).toMatch(/shape.safetensors: tensor "in.post": expected shape \[S, hc\] = \[1, 2\], found \[1, 3\]/);
    const extra: TensorToWrite = { name: 'in.Post', dtype: 'F32', shape: [1, 2], data: Float32Array.of(0.5, 1.5) };
    const renamed = await cli('explain', await mixDump('name.safetensors', 'right', { 'in.post': extra }));
    expect(renamed.err).toMatch(
      /tensor "in.post": expected shape \[S, hc\] of F32 or BF16 or F16, found no such tensor/,
    );
    expect((await cli('explain')).code).toBe(2);
  });

  it('stops when it is interrupted', async () => {
    const { runCli } = await import('../src/index');
    const abort = new AbortController();
    abort.abort();
    let err = '';
    const code = await runCli(['explain', join(dir, 'wrong.safetensors')], {
      out: () => undefined,
      err: (text) => void (err += text),
      isTerminal: true,
      signal: abort.signal,
    });
    expect([code, err.includes('interrupted')]).toEqual([130, true]);
  });
});

describe('docs/dumps.md', () => {
  it('has every mistake with its rule', () => {
    for (const { id, ops, rule } of MISTAKES) {
      expect(docs).toContain(`| \`${id}\` | ${ops.map((op) => `\`${op}\``).join(', ')} | ${rule} |`);
    }
  });

  it('has a TypeScript snippet whose dump is explained as it says', async () => {
    const folder = repositoryFile('packages/cli/test/.tmp');
    const file = join(folder, 'dumps-snippet.ts');
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, snippet('ts'));
    process.env.DUMP = join(dir, 'scales.safetensors');
    try {
      await import(/* @vite-ignore */ file);
    } finally {
      delete process.env.DUMP;
      rmSync(file);
    }
    const { mistakes } = await explained(join(dir, 'scales.safetensors'));
    expect(mistakes.map((m) => m.id)).toEqual(['scales-left-linear']);
  });

  it('has a Python snippet whose dump is explained as it says', async () => {
    const [file, ours] = [join(dir, 'rope.safetensors'), join(dir, 'rope-ours.safetensors')];
    writePythonWay(ours);
    try {
      execFileSync('python3', ['-c', snippet('python'), file]);
      expect(readFileSync(file).equals(readFileSync(ours))).toBe(true);
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e; // no Python here: its bytes are checked all the same
    }
    const { mistakes } = await explained(ours);
    expect(mistakes.map((m) => m.id)).toEqual(['rope-half-split']);
  });
});

/** The bytes the Python snippet writes: header not padded, offsets in order, Python's JSON spacing. */
function writePythonWay(file: string): void {
  const turned = [0, 1].map((i) => [1, 0.01].map((f) => [Math.cos(3 * f), Math.sin(3 * f)])[i]!);
  const x = [1, 2, 3, 4];
  const out = [0, 1, 2, 3].map((i) =>
    i < 2
      ? x[i]! * turned[i]![0]! - x[i + 2]! * turned[i]![1]!
      : x[i]! * turned[i - 2]![0]! + x[i - 2]! * turned[i - 2]![1]!,
  );
  const data = Buffer.concat(
    [Float32Array.from(x), Int32Array.of(3), Float32Array.from(out)].map((a) => Buffer.from(a.buffer)),
  );
  const header = Buffer.from(
    '{"__metadata__": {"op": "rope", "rope_dim": "4", "rope_theta": "10000", "layer": "window"}, ' +
      '"in.x": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}, "in.positions": {"dtype": "I32", "shape": [1], "data_offsets": [16, 20]}, ' +
      '"out": {"dtype": "F32", "shape": [1, 4], "data_offsets": [20, 36]}}',
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(file, Buffer.concat([length, header, data]));
}

it('the help names the file that says how to write a dump', async () => {
  const { out } = await cli('explain', '--help');
  const path = /How to write a dump: (.*)\n/.exec(out)![1]!;
  expect(readFileSync(path, 'utf8')).toContain('safetensors');
});

describe('megamoe explain --template', () => {
  const ops = [...docs.matchAll(/^\| `(\w+)` \| /gm)].map((m) => m[1]!).filter((op) => op !== 'op');

  it.each(ops)('writes a dump of %s that explain reads', async (op) => {
    const file = join(dir, `template-${op}.safetensors`);
    const { code, out, err } = await cli('explain', file, '--template', op);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(`wrote ${file}`);
    expect(out).toMatch(/out[.\w]* +(F32|U8|I32) +\[/);
    const answer = await explained(file);
    expect(answer).toMatchObject({ op, agrees: false });
  });

  it('replaces no file, and knows the operations', async () => {
    const file = await mixDump('template-old.safetensors', 'right');
    const before = readFileSync(file);
    const there = await cli('explain', file, '--template', 'rope');
    expect([there.code, there.out]).toEqual([2, '']);
    expect(there.err).toMatch('is there already: name a new file');
    expect(readFileSync(file)).toEqual(before);
    const unknown = await cli('explain', join(dir, 'new.safetensors'), '--template', 'ropes');
    expect(unknown.code).toBe(2);
    expect(unknown.err).toMatch('rope');
  });
});
