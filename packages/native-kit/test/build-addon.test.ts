import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadAddon } from '../src/index';
import { KIT, TestPackage } from './fixture';

const CMAKE = `cmake_minimum_required(VERSION 3.21)
project(probe CXX)
include("\${MEGAMOE_NATIVE_KIT}/cmake/MegamoeAddon.cmake")
megamoe_addon(probe SOURCES native/addon.cc)
`;

const ADDON = `#include <megamoe/cpu_features.h>
#include <megamoe/napi_args.h>
#include <megamoe/thread_pool.h>
#include <stdexcept>
using namespace megamoe;
static Napi::Value twice(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "twice", 3);
  float* x = args.f32(0, "x", 2);
  const std::int64_t n = args.integer(1, "n", 0, 100);
  if (args.boolean(2, "fail")) throw std::runtime_error("thrown in C++");
  parallelFor(n, 2, [&](std::int64_t b, std::int64_t e) { for (std::int64_t i = b; i < e; i++) x[i] *= 2; });
  return Napi::Number::New(info.Env(), static_cast<double>(args.length(0, "x")));
}
static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("interfaceVersion", 7);
  exports.Set("isa", "generic");
  exports.Set("twice", Napi::Function::New<twice>(env));
  return exports;
}
NODE_API_MODULE(probe, init)
`;

/** True when this machine can build; the tests below cover both cases, so that none is skipped. */
const pkg = new TestPackage();
let canBuild = false;

beforeAll(() => {
  pkg.write('CMakeLists.txt', CMAKE);
  pkg.write('native/addon.cc', ADDON);
  if (existsSync(join(KIT, '..', 'gemm-native', 'node_modules', 'cmake-js')))
    pkg.link('gemm-native', ['cmake-js', 'node-addon-api', 'node-api-headers']);
  const { code, output } = pkg.build(['--optional']);
  expect(code).toBe(0);
  canBuild = pkg.has('build/Release/probe.node');
  if (!canBuild) expect(output).toMatch(/^@scope\/probe: the native addon was not built, because .*\n$/);
});
beforeEach(() => {
  vi.stubEnv('MEGAMOE_DISABLE_NATIVE', '');
});
afterAll(() => {
  vi.unstubAllEnvs();
  pkg.remove();
});

interface Probe {
  twice(x: unknown, n: unknown, fail: unknown): number;
}

/** A folder with links to programs: a PATH of just these. */
function pathOf(names: readonly string[]): string {
  const dir = join(pkg.root, `path-${names.join('-') || 'empty'}`);
  mkdirSync(dir, { recursive: true });
  for (const name of names) {
    const from = (process.env['PATH'] ?? '')
      .split(':')
      .map((d) => join(d, name))
      .find((f) => existsSync(f));
    if (from !== undefined && !existsSync(join(dir, name))) symlinkSync(from, join(dir, name));
  }
  return dir;
}

describe('megamoe-build-addon', () => {
  it('builds an addon that loads, checks its arguments and turns C++ exceptions into errors', () => {
    const { addon, info } = loadAddon<Probe>({ packageUrl: pkg.url(), name: 'probe', interfaceVersion: 7 });
    expect(info.loaded).toBe(canBuild);
    if (addon === undefined) return;
    expect(info).toMatchObject({ isa: 'generic', reason: `built from source: ${info.path!}` });
    // A loaded addon is not looked for again; the environment still counts.
    expect(loadAddon({ packageUrl: pkg.url(), name: 'probe', interfaceVersion: 7 }).info).toBe(info);
    vi.stubEnv('MEGAMOE_DISABLE_NATIVE', '1');
    expect(loadAddon({ packageUrl: pkg.url(), name: 'probe', interfaceVersion: 7 }).addon).toBeUndefined();
    vi.stubEnv('MEGAMOE_DISABLE_NATIVE', '');
    const x = Float32Array.of(1, 2, 3);
    expect(addon.twice(x, 3, false)).toBe(3);
    expect([...x]).toEqual([2, 4, 6]);
    expect(() => addon.twice(x, 3, true)).toThrow('thrown in C++');
    expect(() => addon.twice([1, 2], 3, false)).toThrow('twice: "x" must be a Float32Array');
    expect(() => addon.twice(new Float64Array(3), 3, false)).toThrow(TypeError);
    expect(() => addon.twice(x.subarray(2), 1, false)).toThrow('twice: "x" must hold at least 2 elements, got 1');
    expect(() => addon.twice(x, NaN, false)).toThrow('twice: "n" must be an integer in [0, 100], got nan');
    expect(() => addon.twice(x, 101, false)).toThrow(RangeError);
    expect(() => addon.twice(x, '3', false)).toThrow('twice: "n" must be a number');
    expect(() => addon.twice(x, 3, 1)).toThrow('twice: "fail" must be a boolean');
    expect(() => (addon.twice as (x: unknown) => number)(x)).toThrow('twice: expected 3 arguments, got 1');
  });

  it('refuses an addon of another interface', () => {
    const { addon, info } = loadAddon<Probe>({ packageUrl: pkg.url(), name: 'probe', interfaceVersion: 8 });
    expect(addon).toBeUndefined();
    expect(info.reason).toMatch(canBuild ? /is built for interface 7, but 8 is needed/ : /^not installed/);
  });

  it('does nothing when nothing changed', () => {
    const { code, output } = pkg.build(['--optional', '--quiet']);
    expect(code).toBe(0);
    if (canBuild) expect(output).toBe('');
  });

  it.each([
    [[], 'cmake, a C++ compiler (g++ or clang++), ninja or make are not on the PATH'],
    [['cmake', 'make'], 'a C++ compiler (g++ or clang++) is not on the PATH'],
  ])('with only %j on the PATH it says so in one line', (tools, missing) => {
    const env = { PATH: pathOf(tools) };
    const optional = pkg.build(['--optional'], env);
    expect(optional.code).toBe(0);
    expect(optional.output.trim().split('\n')).toHaveLength(1);
    expect(optional.output).toMatch(
      /^@scope\/probe: the native addon was not built, because .*; the js backend will be used\n$/,
    );
    const required = pkg.build([], env);
    expect(required.code).toBe(1);
    expect(required.output).toMatch(/^@scope\/probe: the native addon was not built, because .* not on the PATH\n$/);
    if (canBuild)
      expect([optional.output, required.output]).toEqual([1, 2].map(() => expect.stringContaining(missing) as string));
  });

  it('a source that does not compile: one line and exit 0 with --optional, the log and exit 1 without', () => {
    const broken = new TestPackage('broken');
    try {
      broken.write('CMakeLists.txt', CMAKE.replaceAll('probe', 'broken'));
      broken.write('native/addon.cc', 'this does not compile;');
      broken.write('build/Release/broken.node', 'an older build');
      broken.link('gemm-native', ['cmake-js', 'node-addon-api', 'node-api-headers']);
      for (let run = 0; run < 2; run++) {
        const { code, output } = broken.build(['--optional', '--quiet']);
        expect(code).toBe(0);
        expect(output.trim().split('\n')).toHaveLength(1);
        expect(output).toMatch(/the js backend will be used/);
        if (canBuild) expect(output).toContain(join('build', 'addon-build.log'));
        expect(broken.has('build/Release/broken.node')).toBe(!canBuild); // what does not match its sources must not be loaded
      }
      const required = broken.build([]);
      expect(required.code).toBe(1);
      if (canBuild) expect(required.output).toContain('this does not compile');
    } finally {
      broken.remove();
    }
  });

  it('tells how it is used', () => {
    expect(pkg.build(['--help'])).toEqual({ code: 0, output: expect.stringMatching(/^usage: /) as string });
    expect(pkg.build(['--fast'])).toMatchObject({
      code: 2,
      output: expect.stringContaining('unknown option --fast') as string,
    });
    const empty = new TestPackage('empty');
    expect(empty.build([])).toMatchObject({
      code: 2,
      output: expect.stringContaining('neither CMakeLists.txt nor native/test/CMakeLists.txt') as string,
    });
    empty.remove();
    expect(pkg.build(['@scope/absent'])).toMatchObject({
      code: 2,
      output: expect.stringContaining('@scope/absent is not installed for') as string,
    });
    expect(pkg.build(['@scope/probe', 'b'])).toMatchObject({ code: 2 });
  });

  it('builds an installed package by its name', () => {
    const app = new TestPackage('app');
    try {
      app.write('node_modules/@scope/thing/package.json', JSON.stringify({ name: '@scope/thing', version: '1.0.0' }));
      app.write('node_modules/@scope/thing/CMakeLists.txt', CMAKE.replaceAll('probe', 'thing'));
      app.write('node_modules/@scope/thing/native/addon.cc', 'never compiled');
      const { code, output } = app.build(['@scope/thing'], { NODE_PATH: '' });
      expect(code).toBe(1);
      expect(output).toMatch(canBuild ? /run "npm install --no-save cmake-js@8 .*" first\n/ : /not on the PATH/);
    } finally {
      app.remove();
    }
  });
});
