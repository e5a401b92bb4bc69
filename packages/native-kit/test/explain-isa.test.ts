import { readFileSync } from 'node:fs';
import { afterEach, expect, it, vi } from 'vitest';
import { explainIsa } from '../src/index';

const AVX2 = ['avx2', 'fma', 'f16c'];
const AVX512 = [...AVX2, 'avx512f', 'avx512dq', 'avx512bw', 'avx512vl', 'avx512vnni', 'avx512vbmi', 'avx512bf16'];
const info = (isa: string, cpuFeatures: readonly string[]) => ({
  name: 'x',
  loaded: true,
  reason: '',
  isa,
  cpuFeatures,
});

afterEach(() => void vi.unstubAllEnvs());

it('says what a better instruction set would need', () => {
  vi.stubEnv('MEGAMOE_CPU_WITHOUT', '');
  const lack = 'not offered by this processor and operating system';
  expect(explainIsa(info('avx512', AVX512), 'x64')).toBe('avx512: the best that there is');
  expect(
    explainIsa(
      info(
        'avx2',
        AVX512.filter((f) => f !== 'avx512vbmi' && f !== 'avx512bf16'),
      ),
      'x64',
    ),
  ).toBe(`avx2: avx512 needs avx512vbmi avx512bf16 (${lack})`);
  expect(explainIsa(info('generic', ['avx2', 'fma']), 'x64')).toBe(
    `generic: avx512 needs f16c avx512f avx512bw avx512dq avx512vl avx512vnni avx512vbmi avx512bf16, avx2 needs f16c (${lack})`,
  );
  expect(explainIsa(info('neon-dotprod', ['neon', 'dotprod']), 'arm64')).toBe('neon-dotprod: the best that there is');
  expect(explainIsa(info('neon', ['neon']), 'arm64')).toBe(`neon: neon-dotprod needs dotprod (${lack})`);
  expect(explainIsa(info('generic', []), 'riscv64')).toBe('generic: the best that there is');
});

it('says that features were hidden', () => {
  vi.stubEnv('MEGAMOE_CPU_WITHOUT', 'avx512vnni');
  expect(
    explainIsa(
      info(
        'avx2',
        AVX512.filter((f) => f !== 'avx512vnni'),
      ),
      'x64',
    ),
  ).toBe('avx2: avx512 needs avx512vnni (hidden by MEGAMOE_CPU_WITHOUT=avx512vnni)');
});

it('has nothing to say of an addon that is not there', () => {
  expect(explainIsa({ name: 'x', loaded: false, reason: 'not built' })).toBeUndefined();
  expect(explainIsa({ name: 'x', loaded: true, reason: 'found and loaded' })).toBeUndefined();
});

/** Instruction set -> features that isa.h asks for, those of the sets that it builds on among them. */
function needsOfHeader(): Map<string, string[]> {
  const header = readFileSync(new URL('../include/megamoe/isa.h', import.meta.url), 'utf8');
  const needs = new Map<string, string[]>();
  const byConstant = new Map<string, string[]>();
  for (const [, constant, isa, rule] of header.matchAll(/constexpr Isa (k\w+) = \{"([\w-]+)", ([\s\S]*?)\}\};/g)) {
    const base = [...rule!.matchAll(/(k\w+)\.runsOn/g)].flatMap(([, other]) => byConstant.get(other!)!);
    const features = [...base, ...[...rule!.matchAll(/\bf\.(\w+)/g)].map(([, feature]) => feature!)];
    byConstant.set(constant!, features);
    needs.set(isa!, features);
  }
  return needs;
}

it('asks for the features that the C++ asks for', () => {
  vi.stubEnv('MEGAMOE_CPU_WITHOUT', '');
  const needs = needsOfHeader();
  expect([...needs.keys()].sort()).toEqual(['avx2', 'avx512', 'generic', 'neon', 'neon-dotprod']);
  const explained = (arch: string, cpuFeatures: string[]) => {
    const text = explainIsa(info('generic', cpuFeatures), arch)!;
    return new Map(
      [...text.matchAll(/([\w-]+) needs ([\w ]+)(?=,| \()/g)].map(([, isa, list]) => [isa, list!.split(' ')]),
    );
  };
  const x64 = explained('x64', []);
  expect([...x64.keys()]).toEqual(['avx512', 'avx2']);
  for (const [isa, features] of x64) expect(features.sort()).toEqual(needs.get(isa!)!.sort());
  expect([...explained('arm64', ['neon'])]).toEqual([
    ['neon-dotprod', needs.get('neon-dotprod')!.filter((feature) => feature !== 'neon')],
  ]);
});
