import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadAddon, platformPackage } from '../src/index';
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

const PREBUILT = `@scope/probe-${process.platform}-${process.arch}${process.platform === 'linux' ? '-gnu' : ''}`;
const HELP = 'build it with "npx megamoe-build-addon @scope/probe"';
const BUILT = () => join(pkg.root, 'build', 'Release', 'probe.node');

/**
 * Installs a platform package. Its addon is a JavaScript file under a name that `require` resolves first: what is tested is where the
 * loader looks and what it says; that real addons load is tested in build-addon.test.ts.
 */
function prebuild(): string {
  const dir = `node_modules/${PREBUILT}`;
  pkg.write(
    `${dir}/package.json`,
    JSON.stringify({ name: PREBUILT, version: '1.2.3', exports: { './probe.node': './probe.js' } }),
  );
  return pkg.write(`${dir}/probe.js`, "module.exports = { interfaceVersion: 7, isa: 'generic' };");
}

const load = (interfaceVersion?: number) =>
  loadAddon({ packageUrl: pkg.url(), name: 'probe', ...(interfaceVersion !== undefined && { interfaceVersion }) });

describe('loadAddon', () => {
  it('says what it looked for and what to do when there is nothing', () => {
    expect(load()).toEqual({
      info: {
        name: 'probe',
        loaded: false,
        reason: `not installed: ${BUILT()} is not there; ${PREBUILT} is not installed; ${HELP}`,
      },
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
    expect(load().info.reason).toMatch(/^not installed/);
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
    expect(info.reason.startsWith(`could not be loaded: ${path} does not load (`)).toBe(true);
    expect(info.reason.endsWith(`); ${PREBUILT} is not installed; ${HELP}`)).toBe(true);
    expect(info.reason).not.toContain('\n');
  });

  it('takes the prebuilt addon of the platform package', () => {
    const path = prebuild();
    expect(load(7)).toMatchObject({
      addon: { interfaceVersion: 7 },
      info: { path, loaded: true, reason: `prebuilt: ${PREBUILT} 1.2.3`, isa: 'generic' },
    });
  });

  it.runIf(process.platform === 'linux')('does not let the system map a file whose end is missing', () => {
    const path = pkg.write('build/Release/probe.node', '');
    const file = openSync(process.execPath, 'r'); // an ELF file that is always there
    const start = Buffer.alloc(100_000);
    readSync(file, start, 0, start.length, 0);
    closeSync(file);
    writeFileSync(path, start);
    const { info } = load();
    expect(info.loaded).toBe(false);
    expect(info.reason).toMatch(/^could not be loaded: .*probe\.node is cut short \(100000 of \d{7,} bytes\); /);
  });

  it('refuses one of another interface, in one line that says what to do', () => {
    const path = prebuild();
    expect(load(8)).toEqual({
      info: {
        name: 'probe',
        path,
        loaded: false,
        reason: `could not be loaded: ${BUILT()} is not there; ${path} is built for interface 7, but 8 is needed; ${HELP}`,
      },
    });
  });

  it('prefers a build from source, finds the package from any depth, and passes over a build that does not load', () => {
    prebuild();
    pkg.write('build/Release/probe.node', '');
    const { info } = loadAddon({ packageUrl: pkg.url('dist/deep/er/index.js'), name: 'probe', interfaceVersion: 7 });
    expect(info.loaded).toBe(true);
    expect(info.reason.startsWith(`prebuilt: ${PREBUILT} 1.2.3; passed over: ${BUILT()} does not load (`)).toBe(true);
  });

  describe('from a bundle', () => {
    const inBundle = (packageUrl: string | undefined, dependents: readonly string[] = []) =>
      loadAddon({ packageUrl, packageName: '@scope/probe', dependents, name: 'probe', interfaceVersion: 7 }).info;
    /** An application with a bundle, and the package installed below `dir`. */
    const install = (dir: string): void => {
      pkg.write('package.json', JSON.stringify({ name: 'app', type: 'module' }));
      pkg.write(`${dir}/@scope/probe/package.json`, JSON.stringify({ name: '@scope/probe', version: '1.2.3' }));
      pkg.write(
        `${dir}/@scope/probe/node_modules/${PREBUILT}/package.json`,
        JSON.stringify({ name: PREBUILT, version: '1.2.3', exports: { './probe.node': './probe.js' } }),
      );
      pkg.write(`${dir}/@scope/probe/node_modules/${PREBUILT}/probe.js`, 'module.exports = { interfaceVersion: 7 };');
    };

    it('an empty name is of no package that is installed', () => {
      const { info } = loadAddon({ packageUrl: undefined, packageName: '', name: 'probe' });
      expect(info).toMatchObject({ loaded: false });
    });

    it('finds the package by its name, not the build of the application', () => {
      install('node_modules');
      pkg.write('build/Release/probe.node', 'the application has one of its own');
      expect(inBundle(pkg.url('dist/bundle.js'))).toMatchObject({
        loaded: true,
        reason: `prebuilt: ${PREBUILT} 1.2.3`,
      });
    });

    it('looks through packages that depend on it', () => {
      install('node_modules/@scope/model/node_modules');
      pkg.write('node_modules/@scope/model/package.json', JSON.stringify({ name: '@scope/model' }));
      expect(inBundle(pkg.url('dist/bundle.js')).loaded).toBe(false);
      expect(inBundle(pkg.url('dist/bundle.js'), ['@scope/model']).loaded).toBe(true);
    });

    it('says what the bundler left behind', () => {
      pkg.write('package.json', JSON.stringify({ name: 'app' }));
      expect(inBundle(pkg.url('dist/bundle.js')).reason).toBe(
        `not installed: @scope/probe is not installed; ${PREBUILT} is not installed; ${join(pkg.root, 'dist/bundle.js')} is a bundle that left ` +
          '@scope/probe and its addon behind: have the bundler mark "@scope/*" as external, and install what it leaves out',
      );
    });

    it('has an answer where import.meta.url is undefined, or nothing that a file has', () => {
      for (const url of [undefined, '', 'about:blank', 'https://example.org/x.js'])
        expect(inBundle(url).reason).toMatch(/^not installed: @scope\/probe is not installed; /);
      expect(loadAddon({ packageUrl: undefined, name: 'probe' }).info.reason).toBe(
        'no package.json at or above undefined',
      );
    });
  });

  it('has an answer where there is no package', () => {
    expect(loadAddon({ packageUrl: 'file:///nowhere/index.js', name: 'probe' }).info.reason).toBe(
      'no package.json at or above /nowhere/index.js',
    );
  });
});

it.each([
  ['linux', 'x64', '@scope/probe-linux-x64-gnu'],
  ['linux', 'arm64', '@scope/probe-linux-arm64-gnu'],
  ['darwin', 'arm64', '@scope/probe-darwin-arm64'],
  ['win32', 'x64', '@scope/probe-win32-x64'],
])('the addon of %s on %s is in %s', (platform, arch, name) => {
  expect(platformPackage('@scope/probe', platform, arch)).toBe(name);
});
