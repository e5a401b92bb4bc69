/** What goes to the registry, checked as it goes there: the tarballs that scripts/release/stage.mjs packs. */
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT, run } from './tools';

interface Staged {
  readonly name: string;
  readonly version: string;
  readonly file: string;
  readonly packedBytes: number;
  readonly files: readonly string[];
}

/** Largest size of a tarball in kB; 60 for pure TypeScript, whatever is not listed. Declarations come file by file, 2 to 4 kB more than in one. */
const BUDGETS: Readonly<Record<string, number>> = {
  '@megamoe/core': 15,
  '@megamoe/native-kit': 40,
  '@megamoe/gemm-native': 150, // with the C++ sources
  '@megamoe/attention': 90,
  '@megamoe/cuda': 90, // with the CUDA sources
  '@megamoe/checkpoint': 72, // every published layout, and the schema library within
  '@megamoe/model': 70, // backends, sequences and the engine
  '@megamoe/server': 80, // two protocols, and the schema library within
  '@megamoe/reference': 74, // every operation, and every mistake that explain knows
  '@megamoe/tiny-model': 15_000, // the weights
  megamoe: 104, // an application: every command and its pages, and benchmarks of processors and GPUs
};

const out = mkdtempSync(join(tmpdir(), 'megamoe-house-'));
const packages = new Map<string, Staged>();

/** Names are known before anything is packed, so that every package is a test of its own. */
const NAMES = [
  'attention',
  'chat',
  'checkpoint',
  'core',
  'cuda',
  'gemm-native',
  'hub',
  'layers',
  'model',
  'moe-router',
  'native-kit',
  'nvfp4-quant',
  'ops',
  'reference',
  'sampler',
  'server',
  'sf-layout',
  'tiny-model',
  'verify',
]
  .map((name) => `@megamoe/${name}`)
  .concat('megamoe');

beforeAll(async () => {
  const { code, output } = await run(['scripts/release/stage.mjs', '--out', out, '--addons', join(out, 'none')]);
  expect(code, output).toBe(0);
  const staged = JSON.parse(readFileSync(join(out, 'packages.json'), 'utf8')) as Staged[];
  for (const p of staged) packages.set(p.name, p);
});
afterAll(() => rmSync(out, { recursive: true, force: true }));

it('every public package is known here', () => {
  expect([...packages.keys()].sort()).toEqual([...NAMES].sort());
});

describe.each(NAMES)('%s', (name) => {
  const tarball = () => readFileSync(join(out, packages.get(name)!.file));

  it('publint has nothing to say', async () => {
    const bytes = tarball();
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    const { messages, pkg } = await publint({ strict: true, pack: { tarball: buffer } });
    expect(messages.map((m) => formatMessage(m, pkg, { color: false }))).toEqual([]);
  });

  it('its types resolve with nodenext and with a bundler', async () => {
    const { buffer, byteOffset, length } = tarball();
    const result = await checkPackage(createPackageFromTarballData(new Uint8Array(buffer, byteOffset, length)), {
      excludeEntrypoints: ['config.json', 'package.json'],
    });
    // ESM only, by intent: `require` before Node 20.19 refuses it, and resolution of before `exports` does not find it.
    const wrong = result.types
      ? result.problems.filter(
          (p) => p.kind !== 'CJSResolvesToESM' && !('resolutionKind' in p && p.resolutionKind === 'node10'),
        )
      : ['no types'];
    expect(wrong).toEqual([]);
  });

  it('is within its size and has what belongs in it', () => {
    const { packedBytes, files } = packages.get(name)!;
    expect(packedBytes / 1e3).toBeLessThan(BUDGETS[name] ?? 60);
    expect(files).toEqual(expect.arrayContaining(['package.json', 'README.md', 'LICENSE']));
    expect(files.filter((f) => /(^|\/)(test|bench|goldens)\/|\.map$|\.ts$/.test(f) && !f.endsWith('.d.ts'))).toEqual(
      [],
    );
  });
});

it('require() of every package gives what import gives, or the error of a Node that cannot', async () => {
  const { NODES, requiresEsm } = (await import(join(ROOT, 'scripts', 'lib', 'nodes.mjs'))) as {
    NODES: readonly string[];
    requiresEsm(version: string): boolean;
  };
  expect(NODES.map(requiresEsm)).toEqual([false, true, true, true]);
  for (const version of ['20.19.0', '22.12.0', '23.0.0']) expect(requiresEsm(version), version).toBe(true);
  for (const version of ['20.18.3', '21.7.3', '22.11.0']) expect(requiresEsm(version), version).toBe(false);
  const { publicPackages } = (await import(join(ROOT, 'scripts', 'release', 'workspace.mjs'))) as {
    publicPackages(): readonly { readonly dir: string; readonly manifest: { readonly name: string } }[];
  };
  const packed = publicPackages();
  const own = packed.map(({ dir, manifest }) => [manifest.name, join(dir, 'index.cjs')]); // found by its own name
  const { code, stdout, output } = await run(['scripts/rehearse/require.mjs', JSON.stringify(Object.fromEntries(own))]);
  expect(code, output).toBe(0);
  const wanted = requiresEsm(process.versions.node) ? 'as import' : 'ERR_REQUIRE_ESM';
  expect(JSON.parse(stdout)).toEqual(Object.fromEntries(NAMES.map((name) => [name, wanted])));
  for (const { dir } of packed)
    expect(readFileSync(join(dir, 'README.md'), 'utf8')).toContain('`require()` works from Node 20.19 and 22.12');
});

it('knip finds no unused or undeclared dependency, file or export', { timeout: 600_000 }, async () => {
  const { code, output } = await run(['internal/house/node_modules/knip/bin/knip.js', '--no-progress'], { cwd: ROOT });
  expect(code, output).toBe(0);
});

it(
  'the API reference has no broken link, and the figures of the README are those of the CSV',
  { timeout: 600_000 },
  async () => {
    for (const args of [
      ['scripts/docs.mjs', '--check'],
      ['scripts/figures.mjs', '--check'],
    ]) {
      const { code, output } = await run(args);
      expect(code, output).toBe(0);
    }
  },
);
