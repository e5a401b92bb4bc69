import { expect, it } from 'vitest';
import { chooseKernels, type AddonResult, type KernelAddon, type KernelOptions } from '../src/index';

const addon: KernelAddon = { interfaceVersion: 1, isa: 'avx2', cpuFeatures: [], isas: ['generic', 'avx2'] };
const there = (): AddonResult<KernelAddon> => ({ addon, info: { name: 'x', loaded: true, reason: 'built' } });
const missing = (): AddonResult<KernelAddon> => ({ info: { name: 'x', loaded: false, reason: 'not installed' } });
const choose = (options: KernelOptions, load = there) => chooseKernels('create', options, load);

it('takes the addon and its best instruction set, or the one that was asked for', () => {
  expect(choose({}).native).toEqual({ addon, isa: 'avx2', table: 1 });
  expect(choose({ backend: 'native', isa: 'generic', threads: 3 })).toEqual({
    native: { addon, isa: 'generic', table: 0 },
    threads: 3,
  });
});

it('falls back to js by itself, and does not look for an addon when js is asked for', () => {
  expect(choose({ threads: 2 }, missing)).toEqual({ native: null, threads: 2 });
  const never = (): never => {
    throw new Error('looked');
  };
  expect(choose({ backend: 'js' }, never).native).toBeNull();
  expect(choose({ backend: 'js' }).threads).toBeGreaterThan(0);
});

it('says what is not there and what options are none', () => {
  expect(() => choose({ backend: 'native' }, missing)).toThrow(
    'create: backend "native" is not available: addon x not installed; available: js',
  );
  expect(() => choose({ isa: 'avx512' })).toThrow(
    'create: instruction set "avx512" is not available; available: generic, avx2',
  );
  expect(() => choose(null as never)).toThrow('create: "options" must be an object');
  expect(() => choose({ backend: 'cuda' as never })).toThrow(
    'create: "backend" must be one of auto, js, native, got cuda',
  );
  expect(() => choose({ isa: 'mmx' as never })).toThrow('create: "isa" must be one of auto, generic, avx2');
  for (const threads of [0, 257, 1.5])
    expect(() => choose({ threads })).toThrow('create: "threads" must be an integer in [1, 256]');
});
