/** The release path, as far as it can be tried without a registry; scripts/rehearse.mjs tries the rest. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
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

describe.runIf(process.platform === 'linux')('check-addon', () => {
  const checked = async (file: string) => run(['scripts/release/check-addon.mjs', file]);

  it.each(['gemm-native', 'attention'])('%s needs glibc 2.28 at most and no C++ runtime', async (name) => {
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
