import { describe, expect, it } from 'vitest';
import { createGemmKernels, gemmAddonInfo } from '../src/index';
import type { ExpertsSource, KernelOptions, LinearSource } from '../src/index';
import { createNativeEngine } from '../src/native-engine';
import type { GemmAddon } from '../src/native-engine';
import { BACKENDS } from './backends';

const f32 = (n: number): Float32Array => new Float32Array(n);
const u8 = (n: number): Uint8Array => new Uint8Array(n);
const i32 = (...v: number[]): Int32Array => Int32Array.from(v);

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
    expect(make(null)).toBe('ERR_KIND createGemmKernels: "options" must be an object');
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

  it('refuses an instruction set that the machine lacks', () => {
    const addon = { isas: ['generic'] } as unknown as GemmAddon;
    expect(thrown(() => createNativeEngine(addon, 'avx1024', 1))).toBe(
      'ERR_UNSUPPORTED createGemmKernels: instruction set "avx1024" is not available; available: generic',
    );
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

describe.each(BACKENDS)('arguments on $name', ({ kernels }) => {
  const k = kernels;
  const w = k.packLinear(source);
  const table = k.packLinear({ n: 4, k: 2, dtype: 'f32', data: f32(8) });
  const e = k.packExperts(expertsSource);
  const dense = k.packExperts({ ...expertsSource, format: 'f32', read: () => ({ data: f32(32) }) });
  const other = createGemmKernels({ backend: 'js' });
  const alpha = f32(4);

  const cases: [string, () => unknown, string][] = [
    // packing
    ['no source', () => k.packLinear(null as never), 'ERR_KIND packLinear: "source" must be a LinearSource'],
    ['n', () => k.packLinear({ ...source, n: 0 }), 'ERR_VALUE packLinear: "n" must be an integer at least 1, got 0'],
    [
      'k',
      () => k.packLinear({ ...source, k: 1.5 }),
      'ERR_VALUE packLinear: "k" must be an integer at least 1, got 1.5',
    ],
    [
      'groups',
      () => k.packLinear({ ...source, groups: -1 }),
      'ERR_VALUE packLinear: "groups" must be an integer at least 1, got -1',
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
      'ERR_KIND packExperts: "read" must be a function',
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
    // weights
    [
      'no weight',
      () => {
        k.linear({} as never, f32(3), 1, f32(2));
      },
      'ERR_KIND linear: "w" must come from packLinear',
    ],
    [
      'linear weight for experts',
      () => {
        k.groupedGemm(w as never, f32(16), i32(0, 1), alpha, f32(4));
      },
      'ERR_KIND groupedGemm: "w" must come from packExperts',
    ],
    [
      'dense weight for W4A4',
      () => {
        k.groupedGemmW4A4(dense, u8(8), u8(1), i32(0, 1), alpha, null, f32(4));
      },
      'ERR_VALUE groupedGemmW4A4: "w" must hold nvfp4 weights, got f32',
    ],
    [
      'table of groups',
      () => {
        k.embed(k.packLinear({ n: 1, k: 3, groups: 2, dtype: 'f32', data: f32(6) }), i32(0), 1, 1, f32(3));
      },
      'ERR_SHAPE embed: "table" must have one group, got 2',
    ],
    // linear
    [
      'm',
      () => {
        k.linear(w, f32(3), -1, f32(2));
      },
      'ERR_VALUE linear: "m" must be an integer at least 0, got -1',
    ],
    [
      'x kind',
      () => {
        k.linear(w, new Float64Array(3) as never, 1, f32(2));
      },
      'ERR_KIND linear: "x" must be a Float32Array, got Float64Array',
    ],
    [
      'x capacity',
      () => {
        k.linear(w, f32(5), 2, f32(4));
      },
      'ERR_SHAPE linear: "x" must hold at least m*groups*k = 6 elements, got 5',
    ],
    [
      'out capacity',
      () => {
        k.linear(w, f32(6), 2, f32(3));
      },
      'ERR_SHAPE linear: "out" must hold at least m*groups*n = 4 elements, got 3',
    ],
    [
      'overlap',
      () => {
        const x = f32(8);
        k.linear(w, x, 1, x.subarray(2));
      },
      'ERR_SHAPE linear: "out" must not overlap "x"',
    ],
    [
      'embed ids',
      () => {
        k.embed(table, i32(0, 4), 2, 1, f32(4));
      },
      'ERR_VALUE embed: "ids" must hold values in [0, 4), got 4 at index 1',
    ],
    [
      'embed repeat',
      () => {
        k.embed(table, i32(0), 1, 0, f32(4));
      },
      'ERR_VALUE embed: "repeat" must be an integer at least 1, got 0',
    ],
    [
      'embed out',
      () => {
        k.embed(table, i32(0), 1, 2, f32(3));
      },
      'ERR_SHAPE embed: "out" must hold at least t*repeat*d = 4 elements, got 3',
    ],
    // grouped
    [
      'offsets kind',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(1), [1, 1] as never, alpha, null, f32(4));
      },
      'ERR_KIND groupedGemmW4A4: "expertOffsets" must be a Int32Array, got Array',
    ],
    [
      'offsets fall',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(1), i32(2, 1), alpha, null, f32(4));
      },
      'ERR_VALUE groupedGemmW4A4: "expertOffsets" must be cumulative ends (no leading zero, never falling), got 1 after 2 at index 1',
    ],
    [
      'offsets count',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(1), i32(0, 1, 1), alpha, null, f32(4));
      },
      'ERR_SHAPE groupedGemmW4A4: "expertOffsets" must have length numExperts = 2, got 3',
    ],
    [
      'aCodes',
      () => {
        k.groupedGemmW4A4(e, u8(7), u8(1), i32(0, 1), alpha, null, f32(4));
      },
      'ERR_SHAPE groupedGemmW4A4: "aCodes" must hold at least R*k/2 = 8 elements, got 7',
    ],
    [
      'aSf',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(0), i32(0, 1), alpha, null, f32(4));
      },
      'ERR_SHAPE groupedGemmW4A4: "aSf" must hold at least R*k/16 = 1 elements, got 0',
    ],
    [
      'aSf value',
      () => {
        k.groupedGemmW4A4(e, u8(16), Uint8Array.of(1, 0x80), i32(0, 2), alpha, null, f32(8));
      },
      'ERR_VALUE groupedGemmW4A4: "aSf" must hold E4M3 scales that are numbers of at least 0, got 0x80 at index 1',
    ],
    [
      'alpha',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(1), i32(0, 1), f32(3), null, f32(4));
      },
      'ERR_SHAPE groupedGemmW4A4: "alpha" must hold at least numExperts*parts = 4 elements, got 3',
    ],
    [
      'alpha value',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(1), i32(0, 1), Float32Array.of(NaN, NaN, 1, Infinity), null, f32(4));
      },
      'ERR_VALUE groupedGemmW4A4: "alpha" of expert 1, part 1 must be finite, got Infinity at index 3',
    ],
    [
      'rowScale',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(1), i32(0, 1), alpha, f32(0), f32(4));
      },
      'ERR_SHAPE groupedGemmW4A4: "rowScale" must hold at least R = 1 elements, got 0',
    ],
    [
      'rowScale value',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(1), i32(0, 1), alpha, Float32Array.of(NaN), f32(4));
      },
      'ERR_VALUE groupedGemmW4A4: "rowScale" must be finite, got NaN at index 0',
    ],
    [
      'grouped out',
      () => {
        k.groupedGemmW4A4(e, u8(8), u8(1), i32(0, 1), alpha, null, f32(3));
      },
      'ERR_SHAPE groupedGemmW4A4: "out" must hold at least R*n = 4 elements, got 3',
    ],
    [
      'a',
      () => {
        k.groupedGemm(e, f32(15), i32(0, 1), alpha, f32(4));
      },
      'ERR_SHAPE groupedGemm: "a" must hold at least R*k = 16 elements, got 15',
    ],
    [
      'no alpha',
      () => {
        k.groupedGemm(e, f32(16), i32(0, 1), null, f32(4));
      },
      'ERR_KIND groupedGemm: "alpha" must be a Float32Array, got null',
    ],
    [
      'alpha for f32',
      () => {
        k.groupedGemm(dense, f32(16), i32(0, 1), alpha, f32(4));
      },
      'ERR_VALUE groupedGemm: "alpha" must be null for f32 weights',
    ],
    // staging
    [
      'stage k',
      () => {
        k.stageNvfp4(f32(24), 24, null, i32(1), f32(1), u8(12), u8(2));
      },
      'ERR_SHAPE stageNvfp4: "k" must be a multiple of 16, got 24',
    ],
    [
      'stage x',
      () => {
        k.stageNvfp4(f32(16), 16, null, i32(2), f32(1).fill(1), u8(16), u8(2));
      },
      'ERR_SHAPE stageNvfp4: "x" must hold at least R*k = 32 elements, got 16',
    ],
    [
      'stage slot',
      () => {
        k.stageNvfp4(f32(16), 16, i32(1), i32(1), f32(1).fill(1), u8(16), u8(2));
      },
      'ERR_VALUE stageNvfp4: "slotToken" must hold values in [0, 1), got 1 at index 0',
    ],
    [
      'stage scale count',
      () => {
        k.stageNvfp4(f32(16), 16, null, i32(0, 1), f32(1).fill(1), u8(16), u8(2));
      },
      'ERR_SHAPE stageNvfp4: "globalDecodeScale" must hold at least E = 2 elements, got 1',
    ],
    [
      'stage zero scale',
      () => {
        k.stageNvfp4(f32(16), 16, null, i32(0, 1), Float32Array.of(0, 0), u8(16), u8(2));
      },
      'ERR_VALUE stageNvfp4: "globalDecodeScale" of expert 1 must be finite and at least 2^-117, got 0',
    ],
    [
      'stage codes',
      () => {
        k.stageNvfp4(f32(16), 16, null, i32(1), f32(1).fill(1), u8(7), u8(2));
      },
      'ERR_SHAPE stageNvfp4: "codes" must hold at least R*k/2 = 8 elements, got 7',
    ],
    [
      'stage sf',
      () => {
        k.stageNvfp4(f32(16), 16, null, i32(1), f32(1).fill(1), u8(8), u8(0));
      },
      'ERR_SHAPE stageNvfp4: "sf" must hold at least R*k/16 = 1 elements, got 0',
    ],
    [
      'loss sums',
      () => {
        k.nvfp4Loss(f32(32), 2, 16, 1, u8(16), u8(2), new Float64Array(5));
      },
      'ERR_SHAPE nvfp4Loss: "sums" must hold at least m*3 = 6 elements, got 5',
    ],
    [
      'loss scale',
      () => {
        k.nvfp4Loss(f32(32), 2, 16, 0, u8(16), u8(2), new Float64Array(6));
      },
      'ERR_VALUE nvfp4Loss: "globalDecodeScale" must be a finite number above 0, got 0',
    ],
    [
      'dynamic rows',
      () => {
        k.stageNvfp4Dynamic(f32(16), 16, null, NaN, u8(8), u8(1), f32(1));
      },
      'ERR_VALUE stageNvfp4Dynamic: "rows" must be an integer at least 0, got NaN',
    ],
    [
      'dynamic rowScale',
      () => {
        k.stageNvfp4Dynamic(f32(16), 16, null, 1, u8(8), u8(1), f32(0));
      },
      'ERR_SHAPE stageNvfp4Dynamic: "rowScale" must hold at least rows = 1 elements, got 0',
    ],
    // rows
    [
      'gather index',
      () => {
        k.gatherRows(f32(4), 2, i32(0, -1), 2, f32(4));
      },
      'ERR_VALUE gatherRows: "slotToken" must hold values in [0, 2), got -1 at index 1',
    ],
    [
      'gather out',
      () => {
        k.gatherRows(f32(4), 2, i32(0), 1, f32(1));
      },
      'ERR_SHAPE gatherRows: "out" must hold at least rows*d = 2 elements, got 1',
    ],
    [
      'swiglu limit',
      () => {
        k.swiglu(f32(2), 1, 1, 0, f32(1));
      },
      'ERR_VALUE swiglu: "limit" must be above 0 (Infinity for none), got 0',
    ],
    [
      'swiglu NaN limit',
      () => {
        k.swiglu(f32(2), 1, 1, NaN, f32(1));
      },
      'ERR_VALUE swiglu: "limit" must be above 0 (Infinity for none), got NaN',
    ],
    [
      'swiglu gateUp',
      () => {
        k.swiglu(f32(1), 1, 1, 1, f32(1));
      },
      'ERR_SHAPE swiglu: "gateUp" must hold at least m*2*i = 2 elements, got 1',
    ],
    [
      'scatter slot',
      () => {
        k.scatterExperts(f32(4), 2, i32(0, 2), f32(2), 1, 2, f32(2));
      },
      'ERR_VALUE scatterExperts: "tokenSlots" must hold values in [-1, 2), got 2 at index 1',
    ],
    [
      'scatter weights',
      () => {
        k.scatterExperts(f32(4), 2, i32(0, 1), f32(1), 1, 2, f32(2));
      },
      'ERR_SHAPE scatterExperts: "topkWeights" must hold at least t*topk = 2 elements, got 1',
    ],
    [
      'add x',
      () => {
        k.addInPlace(f32(4), f32(3), 4);
      },
      'ERR_SHAPE addInPlace: "x" must hold at least n = 4 elements, got 3',
    ],
    [
      'norm eps',
      () => {
        k.rmsNorm(f32(4), 1, 4, null, -1, f32(4));
      },
      'ERR_VALUE rmsNorm: "eps" must be a finite number in [0, Infinity], got -1',
    ],
    [
      'norm weight',
      () => {
        k.rmsNorm(f32(4), 1, 4, f32(3), 0, f32(4));
      },
      'ERR_SHAPE rmsNorm: "weight" must hold at least d = 4 elements, got 3',
    ],
    [
      'norm shifted',
      () => {
        const x = f32(5);
        k.rmsNorm(x, 1, 4, null, 0, x.subarray(1));
      },
      'ERR_SHAPE rmsNorm: "out" must not overlap "x"',
    ],
    // hyper-connections
    [
      'hc',
      () => {
        k.hcPost(f32(17), f32(1), 1, 17, 1, f32(17), f32(289));
      },
      'ERR_VALUE hcPost: "hc" must be an integer in [1, 16], got 17',
    ],
    [
      'hc streams',
      () => {
        k.hcPost(f32(3), f32(2), 1, 2, 2, f32(2), f32(4));
      },
      'ERR_SHAPE hcPost: "streams" must hold at least t*hc*d = 4 elements, got 3',
    ],
    [
      'hc comb',
      () => {
        k.hcPost(f32(4), f32(2), 1, 2, 2, f32(2), f32(3));
      },
      'ERR_SHAPE hcPost: "comb" must hold at least t*hc*hc = 4 elements, got 3',
    ],
    [
      'hc fn',
      () => {
        k.hcHead(f32(4), 1, 2, 2, f32(7), f32(2), f32(1), 0, 0, f32(2));
      },
      'ERR_SHAPE hcHead: "fn" must hold at least mixes*hc*d = 8 elements, got 7',
    ],
    [
      'hc scale',
      () => {
        k.hcPre(f32(4), 1, 2, 2, f32(32), f32(8), f32(2), 0, 0, 1, f32(2), f32(4), f32(2));
      },
      'ERR_SHAPE hcPre: "scale" must hold at least scales = 3 elements, got 2',
    ],
    [
      'hc iters',
      () => {
        k.hcPre(f32(4), 1, 2, 2, f32(32), f32(8), f32(3), 0, 0, 0, f32(2), f32(4), f32(2));
      },
      'ERR_VALUE hcPre: "iters" must be an integer in [1, 10000], got 0',
    ],
  ];

  it.each(cases)('%s', (_, f, message) => {
    expect(thrown(f)).toBe(message);
  });

  it('a weight of another backend', () => {
    const message =
      kernels.backend === 'js'
        ? 'nothing'
        : 'ERR_KIND linear: "w" was packed for "js", but these kernels read "native"';
    expect(
      thrown(() => {
        k.linear(other.packLinear(source), f32(3), 1, f32(2));
      }),
    ).toBe(message);
    expect(
      thrown(() => {
        k.groupedGemm(other.packExperts(expertsSource), f32(0), i32(0, 0), alpha, f32(0));
      }),
    ).toBe(message.replaceAll('linear', 'groupedGemm'));
  });
});
