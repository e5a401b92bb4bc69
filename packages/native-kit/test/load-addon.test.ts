import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadAddon } from '../src/index';
import { TestPackage } from './fixture';

let pkg: TestPackage;
beforeEach(() => {
  vi.stubEnv('MEGAMOE_DISABLE_NATIVE', '');
  pkg = new TestPackage();
});
afterEach(() => {
  vi.unstubAllEnvs();
  pkg.remove();
});

const load = (interfaceVersion?: number) =>
  loadAddon({ packageUrl: pkg.url(), name: 'probe', ...(interfaceVersion !== undefined && { interfaceVersion }) });

describe('loadAddon', () => {
  it('says what it looked for when there is nothing', () => {
    const built = join(pkg.root, 'build', 'Release', 'probe.node');
    const prebuilt = join(pkg.root, 'prebuilds', `${process.platform}-${process.arch}`, 'probe.node');
    expect(load()).toEqual({
      info: { name: 'probe', loaded: false, reason: `not built: looked for ${built} and ${prebuilt}` },
    });
  });

  it('is disabled by the environment, unless that says 0', () => {
    for (const value of ['1', 'yes']) {
      vi.stubEnv('MEGAMOE_DISABLE_NATIVE', value);
      expect(load().info).toEqual({
        name: 'probe',
        loaded: false,
        reason: `disabled by MEGAMOE_DISABLE_NATIVE=${value}`,
      });
    }
    vi.stubEnv('MEGAMOE_DISABLE_NATIVE', '0');
    expect(load().info.reason).toMatch(/^not built/);
  });

  it.each([
    ['an empty file', ''],
    ['a text file', 'this is no addon\nat all'],
    ['a cut-off ELF file', '\x7fELF\x02\x01\x01\0\0\0'],
  ])('survives %s', (_, text) => {
    const path = pkg.write('build/Release/probe.node', text);
    const { addon, info } = load();
    expect(addon).toBeUndefined();
    expect(info).toMatchObject({ name: 'probe', path, loaded: false });
    expect(info.reason).toMatch(/^could not be loaded: .+/);
    expect(info.reason).not.toContain('\n');
  });

  it('finds the package from any depth, and prefers the build to the prebuilt file', () => {
    pkg.write(`prebuilds/${process.platform}-${process.arch}/probe.node`, '');
    const at = (path: string) => loadAddon({ packageUrl: pkg.url(path), name: 'probe' }).info.path;
    expect(at('dist/deep/er/index.js')).toMatch(/prebuilds.*probe\.node$/);
    pkg.write('build/Release/probe.node', '');
    expect(at('dist/index.js')).toBe(join(pkg.root, 'build', 'Release', 'probe.node'));
  });

  it('has an answer where there is no package', () => {
    expect(loadAddon({ packageUrl: 'file:///nowhere/index.js', name: 'probe' }).info.reason).toBe(
      'no package.json at or above /nowhere/index.js',
    );
  });
});
