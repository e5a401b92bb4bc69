/** The release path, as far as it can be tried without a registry; scripts/rehearse.mjs tries the rest. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { ROOT, run } from './tools';

interface Bump {
  readonly from: string;
  readonly to: string;
  readonly changelog: string;
}

const bumped = (version: string, part: 'minor' | 'patch'): string => {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  return part === 'minor' ? `${major}.${minor + 1}.0` : `${major}.${minor}.${patch + 1}`;
};

it('a patch in one package and a minor in another give the right versions, changelogs and bumps of dependents', async () => {
  const { code, stdout, output } = await run(['scripts/release/version-trial.mjs', 'sf-layout=patch', 'sampler=minor']);
  expect(code, output).toBe(0);
  const { released, trial } = JSON.parse(stdout) as {
    released: Record<string, string>;
    trial: Record<string, Bump>;
  };
  expect(Object.entries(released).filter(([, version]) => version === '0.0.0')).toEqual([]); // all go out at once
  const parts = {
    '@megamoe/sf-layout': 'patch',
    '@megamoe/sampler': 'minor',
    '@megamoe/model': 'patch', // its ^0.1.0 does not take the sampler's 0.2.0
    '@megamoe/server': 'patch', // nor do theirs take the model's
    megamoe: 'patch',
  } as const;
  expect(Object.keys(trial).sort()).toEqual(Object.keys(parts).sort());
  for (const [name, part] of Object.entries(parts)) {
    expect(released[name], name).not.toBe('0.0.0');
    expect(trial[name], name).toMatchObject({ from: released[name]!, to: bumped(released[name]!, part) });
  }
  const changelog = (name: string): string => trial[name]!.changelog;
  expect(changelog('@megamoe/sf-layout')).toContain('### Patch Changes\n\n- A trial patch of sf-layout.');
  expect(changelog('@megamoe/sampler')).toContain('### Minor Changes\n\n- A trial minor of sampler.');
  const sampler = `@megamoe/sampler@${trial['@megamoe/sampler']!.to}`;
  expect(changelog('@megamoe/model')).toContain(`### Patch Changes\n\n- Updated dependencies: ${sampler}`);
  const updated = changelog('megamoe')
    .split('\n')
    .filter((line) => line.includes('Updated dependencies'));
  expect(updated).toHaveLength(1); // however many changes there were
  for (const name of Object.keys(parts).filter((dependency) => dependency !== 'megamoe'))
    expect(updated[0]).toContain(`${name}@${trial[name]!.to}`);
});

describe('isPublished', () => {
  afterEach(() => void vi.unstubAllEnvs());

  /** What it says of core 0.1.0 when the registry answers with this status. */
  async function asked(status: number): Promise<{ code: number; output: string }> {
    const versions = { '0.1.0': { name: '@megamoe/core', version: '0.1.0' } };
    const body = status === 200 ? { name: '@megamoe/core', 'dist-tags': { latest: '0.1.0' }, versions } : {};
    const server = createServer((_, response) => response.writeHead(status).end(JSON.stringify(body)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const registry = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const code =
      `import { isPublished } from ${JSON.stringify(join(ROOT, 'scripts', 'release', 'publish.mjs'))};` +
      `console.log(isPublished('@megamoe/core', '0.1.0', ${JSON.stringify({ registry })}));`;
    try {
      return await run(['--input-type=module', '--eval', code]);
    } finally {
      server.close();
    }
  }

  it.each(['notice', 'silent'])('tells no version from no answer, with a log level of %s', async (level) => {
    vi.stubEnv('npm_config_loglevel', level); // what npm run gives to a script, silent with -s
    expect(await asked(200)).toMatchObject({ code: 0, output: 'true\n' });
    expect(await asked(404)).toMatchObject({ code: 0, output: 'false\n' });
    const refused = await asked(403);
    expect(refused.code).toBe(1);
    expect(refused.output).toMatch(/npm view @megamoe\/core@0\.1\.0 failed: .*E403/s);
  });
});

describe('stage', () => {
  interface Staged {
    readonly name: string;
    readonly file: string;
    readonly files: readonly string[];
  }
  const work = mkdtempSync(join(tmpdir(), 'megamoe-stage-test-'));
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  /** Stages with made-up addons: files of this many bytes, by platform and name. */
  async function staged(files: Readonly<Record<string, number>>, ...more: readonly string[]) {
    const [out, addons] = [join(work, 'out'), join(work, 'addons')];
    rmSync(addons, { recursive: true, force: true });
    for (const [file, bytes] of Object.entries(files)) {
      mkdirSync(dirname(join(addons, file)), { recursive: true });
      writeFileSync(join(addons, file), randomBytes(bytes));
    }
    const done = await run(['scripts/release/stage.mjs', '--out', out, '--addons', addons, ...more]);
    const list = join(out, 'packages.json');
    return { ...done, out, list: done.code === 0 ? (JSON.parse(readFileSync(list, 'utf8')) as readonly Staged[]) : [] };
  }
  interface Manifest {
    readonly version: string;
    readonly dependencies?: Readonly<Record<string, string>>;
    readonly peerDependencies?: Readonly<Record<string, string>>;
    readonly optionalDependencies?: Readonly<Record<string, string>>;
  }
  const manifestIn = (out: string, { file }: Staged): Manifest =>
    JSON.parse(
      execFileSync('tar', ['-xzOf', join(out, file), 'package/package.json'], { encoding: 'utf8' }),
    ) as Manifest;

  it('the addon for GPUs is a package for one platform, which comes with @megamoe/cuda and with nothing else', async () => {
    const { code, output, out, list } = await staged({
      'linux-x64-gnu/cuda.node': 1000,
      'linux-arm64-gnu/cuda.node': 1000, // no platform of it: not taken
      'linux-x64-gnu/attention.node': 1000,
    });
    expect(code, output).toBe(0);
    const addons = list.filter(({ name }) => name.startsWith('@megamoe/cuda-'));
    expect(addons.map(({ name }) => name)).toEqual(['@megamoe/cuda-linux-x64-gnu']);
    expect(manifestIn(out, addons[0]!)).toMatchObject({ os: ['linux'], cpu: ['x64'], libc: ['glibc'] });
    expect(addons[0]!.files).toContain('cuda.node');
    const { version } = manifestIn(out, addons[0]!);
    for (const p of list) {
      const { optionalDependencies = {}, dependencies = {}, peerDependencies = {} } = manifestIn(out, p);
      const names = Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies }).filter((name) =>
        name.startsWith('@megamoe/cuda'),
      );
      expect(names, p.name).toEqual(p.name === '@megamoe/cuda' ? ['@megamoe/cuda-linux-x64-gnu'] : []);
      if (p.name === '@megamoe/cuda') expect(optionalDependencies).toEqual({ '@megamoe/cuda-linux-x64-gnu': version });
    }
    expect(output).toMatch(/@megamoe\/attention: no addon for linux-arm64-gnu, .*: left out/);
    expect(output).not.toContain('@megamoe/cuda: no addon');
  });

  it('with --require-all stops at what is missing', async () => {
    const { code, output } = await staged({}, '--require-all');
    expect(code).toBe(1);
    expect(output).toMatch(/no addon for linux-x64-gnu, linux-arm64-gnu, .* in /);
  });

  it('refuses an addon that is larger than platforms.mjs says', async () => {
    const { code, output } = await staged({ 'linux-x64-gnu/attention.node': 1.1e6 });
    expect(code).toBe(1);
    expect(output).toMatch(/@megamoe\/attention-linux-x64-gnu: .* has 1100000 bytes, the limit is 1000000/);
  });
});

describe.runIf(process.platform === 'linux')('check-addon', () => {
  const checked = async (file: string) => run(['scripts/release/check-addon.mjs', file]);

  it.each(['gemm-native', 'attention', 'cuda'])('%s needs glibc 2.28 at most and no C++ runtime', async (name) => {
    const file = join(ROOT, 'packages', name, 'build', 'Release', `${name}.node`);
    const { code, output } = await checked(file);
    if (existsSync(file)) expect(code, output).toBe(0);
    else expect(code).toBe(1); // built without a compiler: there is nothing to check, and it says so
  });

  it('refuses a file that needs the C++ runtime of the machine', async () => {
    const { code, output } = await checked(process.execPath);
    expect(code).toBe(1);
    expect(output).toContain('needs libstdc++.so.6, which a user');
  });
});
