import { expect, it } from 'vitest';
import { gemmAddonInfo, measureCeiling } from '../src/index';
import type { CeilingKind } from '../src/index';

const { loaded, cpuFeatures = [] } = gemmAddonInfo();
const SMALL = { bytes: 1 << 20, span: 1 << 22, operations: 1 << 22 };

it.each([
  ['read', []],
  ['copy', []],
  ['max', []],
  ['fma', []],
  ['vpdpbusd', ['avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512vnni', 'avx512bf16']],
  ['vdpbf16ps', ['avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512vnni', 'avx512bf16']],
] as [CeilingKind, string[]][])('%s is a rate where the processor has it, else undefined', (kind, needed) => {
  for (const threads of [1, 2]) {
    const rate = measureCeiling(kind, { threads, ...SMALL });
    if (loaded && needed.every((f) => cpuFeatures.includes(f))) expect(rate).toBeGreaterThan(1e6);
    else expect(rate).toBeUndefined();
  }
});

it('takes a span smaller than a pass, and defaults', () => {
  const rates = [measureCeiling('read', { bytes: 10_000, span: 700 }), measureCeiling('fma')];
  for (const rate of rates) expect(rate === undefined || (Number.isFinite(rate) && rate > 0)).toBe(true);
  expect(rates.every((rate) => rate !== undefined)).toBe(loaded);
});

it.each([
  [() => measureCeiling('write' as CeilingKind), /"kind" must be one of read, copy, max/],
  [() => measureCeiling('read', null as never), /"options" must be an object/],
  [() => measureCeiling('read', { threads: 0 }), /"threads"/],
  [() => measureCeiling('read', { threads: 257 }), /"threads"/],
  [() => measureCeiling('read', { bytes: 0 }), /"bytes"/],
  [() => measureCeiling('read', { span: 2 ** 30 + 1 }), /"span"/],
  [() => measureCeiling('fma', { operations: 1.5 }), /"operations"/],
])('%s is refused', (call, message) => {
  expect(call).toThrow(message);
});
