import { describe, expect, it } from 'vitest';
import { createGemmKernels, gemmAddonInfo } from '../src/index';
import type { ExpertsSource, KernelOptions, LinearSource } from '../src/index';
import { BACKENDS } from './backends';

const f32 = (n: number): Float32Array => new Float32Array(n);
const u8 = (n: number): Uint8Array => new Uint8Array(n);

/** What `f` throws, as `CODE message`. */
function thrown(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    const { code, message } = e as Error & { code?: string };
    return `${code ?? 'no code'} ${message}`;
  }
  return 'nothing';
}

const source: LinearSource = { n: 2, k: 3, dtype: 'f32', data: f32(6) };
const expertsSource: ExpertsSource = {
  numExperts: 2,
  n: 4,
  k: 16,
  parts: 2,
  format: 'nvfp4',
  read: () => ({ codes: u8(16), sf: u8(2) }),
};

describe('createGemmKernels', () => {
  it('checks its options', () => {
    const make = (o: unknown): string => thrown(() => createGemmKernels(o as KernelOptions));
    expect(make({ backend: 'gpu' })).toBe(
      'ERR_VALUE createGemmKernels: "backend" must be one of auto, js, native, got gpu',
    );
    expect(make({ isa: 'mmx' })).toBe(
      'ERR_VALUE createGemmKernels: "isa" must be one of auto, generic, avx2, avx512, neon, neon-dotprod, got mmx',
    );
    expect(make({ threads: 0 })).toBe('ERR_VALUE createGemmKernels: "threads" must be an integer in [1, 256], got 0');
    expect(make(null)).toBe('ERR_KIND createGemmKernels: "options" must be an object, got null');
    expect(createGemmKernels({ backend: 'js', threads: 9 }).threads).toBe(1);
    expect(createGemmKernels({ threads: 1 }).threads).toBe(1);
  });

  it('falls back to js, or says what it looked for, when the addon is disabled', () => {
    const before = process.env['MEGAMOE_DISABLE_NATIVE'];
    process.env['MEGAMOE_DISABLE_NATIVE'] = '1';
    try {
      expect(createGemmKernels().backend).toBe('js');
      expect(gemmAddonInfo()).toEqual({
        name: 'gemm-native',
        loaded: false,
        reason: 'disabled by MEGAMOE_DISABLE_NATIVE=1',
      });
      expect(thrown(() => createGemmKernels({ backend: 'native' }))).toBe(
        'ERR_UNSUPPORTED createGemmKernels: backend "native" is not available: addon gemm-native disabled by MEGAMOE_DISABLE_NATIVE=1; available: js',
      );
    } finally {
      if (before === undefined) delete process.env['MEGAMOE_DISABLE_NATIVE'];
      else process.env['MEGAMOE_DISABLE_NATIVE'] = before;
    }
  });

  it.runIf(gemmAddonInfo().loaded)('refuses the instruction sets of other processors', () => {
    const foreign = process.arch === 'arm64' ? 'avx2' : 'neon';
    expect(thrown(() => createGemmKernels({ isa: foreign }))).toMatch(
      new RegExp(
        `^ERR_UNSUPPORTED createGemmKernels: instruction set "${foreign}" is not available; available: (.*, )?generic$`,
      ),
    );
  });
});

describe.each(BACKENDS)('packing on $name', ({ kernels }) => {
  const k = kernels;

  const cases: [string, () => unknown, string][] = [
    // packing
    ['no source', () => k.packLinear(null as never), 'ERR_KIND packLinear: "source" must be a LinearSource'],
    [
      'name',
      () => k.packLinear({ ...source, name: 3 as never }),
      'ERR_KIND packLinear: "name" must be a string, got number',
    ],
    ['n', () => k.packLinear({ ...source, n: 0 }), 'ERR_VALUE packLinear: "n" must be an integer at least 1, got 0'],
    [
      'k',
      () => k.packLinear({ ...source, k: 1.5 }),
      'ERR_VALUE packLinear: "k" must be an integer at least 1, got 1.5',
    ],
    [
      'groups',
      () => k.packLinear({ ...source, groups: -1 }),
      'ERR_VALUE packLinear: "groups" must be an integer in [1, 65536], got -1',
    ],
    [
      'dtype',
      () => k.packLinear({ ...source, dtype: 'f16' as never }),
      'ERR_VALUE packLinear: "dtype" must be one of nvfp4, fp8, bf16, f32, got f16',
    ],
    [
      'data kind',
      () => k.packLinear({ ...source, dtype: 'bf16' }),
      'ERR_KIND packLinear: "data" must be a Uint16Array, got Float32Array',
    ],
    [
      'data length',
      () => k.packLinear({ ...source, data: f32(5) }),
      'ERR_SHAPE packLinear: "data" must have length groups*n*k = 6, got 5',
    ],
    ['no experts source', () => k.packExperts(1 as never), 'ERR_KIND packExperts: "source" must be an ExpertsSource'],
    [
      'parts',
      () => k.packExperts({ ...expertsSource, parts: 3 as never }),
      'ERR_VALUE packExperts: "parts" must be one of 1, 2, got 3',
    ],
    [
      'odd n',
      () => k.packExperts({ ...expertsSource, n: 5 }),
      'ERR_SHAPE packExperts: "n" must be a multiple of parts = 2, got 5',
    ],
    [
      'k of 24',
      () => k.packExperts({ ...expertsSource, k: 24 }),
      'ERR_SHAPE packExperts: "k" must be a multiple of 16, got 24',
    ],
    [
      'format',
      () => k.packExperts({ ...expertsSource, format: 'fp6' as never }),
      'ERR_VALUE packExperts: "format" must be one of nvfp4, fp8, bf16, f32, got fp6',
    ],
    [
      'no reader',
      () => k.packExperts({ ...expertsSource, read: undefined as never }),
      'ERR_KIND packExperts: "read" must be a function, got undefined',
    ],
    [
      'reader of nothing',
      () => k.packExperts({ ...expertsSource, read: () => null as never }),
      'ERR_KIND packExperts: read(0, 0): must return an object',
    ],
    [
      'short codes',
      () => k.packExperts({ ...expertsSource, read: () => ({ codes: u8(15), sf: u8(2) }) }),
      'ERR_SHAPE packExperts: read(0, 0): "codes" must have length n/parts*k/2 = 16, got 15',
    ],
    [
      'short sf',
      () => k.packExperts({ ...expertsSource, read: (_, p) => ({ codes: u8(16), sf: u8(2 + p) }) }),
      'ERR_SHAPE packExperts: read(0, 1): "sf" must have length n/parts*k/16 = 2, got 3',
    ],
    [
      'NaN scale',
      () => k.packExperts({ ...expertsSource, read: (x) => ({ codes: u8(16), sf: u8(2).fill(x === 1 ? 0x7f : 0) }) }),
      'ERR_VALUE packExperts: read(1, 0): "sf" must hold E4M3 scales that are numbers of at least 0, got 0x7f at index 0',
    ],
    [
      'dense rows for nvfp4',
      () => k.packExperts({ ...expertsSource, read: () => ({ data: f32(1) }) }),
      'ERR_KIND packExperts: read(0, 0): "codes" must be a Uint8Array, got undefined',
    ],
    [
      'short dense rows',
      () => k.packExperts({ ...expertsSource, format: 'f32', read: () => ({ data: f32(1) }) }),
      'ERR_SHAPE packExperts: read(0, 0): "data" must have length n/parts*k = 32, got 1',
    ],
    // staged
    ['no spec', () => k.createStaged(null as never), 'ERR_KIND createStaged: "spec" must be a StagedSpec'],
    [
      'slots',
      () => k.createStaged({ slots: 0, k: 16, inputs: ['nvfp4'] }),
      'ERR_VALUE createStaged: "slots" must be an integer in [1, 4294967296], got 0',
    ],
    [
      'more than there is',
      () => k.createStaged({ slots: 2 ** 30, k: 2 ** 20, inputs: ['f32'] }),
      'ERR_SHAPE createStaged: cannot allocate 4503599627370496 bytes',
    ],
    [
      'no inputs',
      () => k.createStaged({ slots: 1, k: 16, inputs: [] }),
      'ERR_KIND createStaged: "inputs" must be an array of at least one of f32, bf16, nvfp4',
    ],
    [
      'inputs',
      () => k.createStaged({ slots: 1, k: 16, inputs: ['f32', 'fp8' as never] }),
      'ERR_VALUE createStaged: "inputs" must be one of f32, bf16, nvfp4, got fp8',
    ],
  ];

  it.each(cases)('%s', (_, f, message) => {
    expect(thrown(f)).toBe(message);
  });

  it('weights keep the names of their sources', () => {
    expect(k.packLinear({ ...source, name: 'layers.0.attn.wq_a' }).name).toBe('layers.0.attn.wq_a');
    expect(k.packExperts({ ...expertsSource, name: 'layers.0.ffn.experts.w13' }).name).toBe('layers.0.ffn.experts.w13');
    expect(k.packLinear(source).name).toBe('');
  });
});
