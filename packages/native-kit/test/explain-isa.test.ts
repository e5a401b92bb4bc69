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
