import { createGemmKernels, createLogitsScan, stagedArrays, swizzleScales128x4 } from '@megamoe/gemm-native';
import type { Nvfp4Rows } from '@megamoe/ops';
import { Sampler } from '@megamoe/sampler';
import { createSfGeometry, sfOffset } from '@megamoe/sf-layout';
import { checkClose, checkSame, lazy, Random } from './data';
import { alternate, compare } from './measure';
import { BenchError, type BenchCase, type BenchContext } from './types';

/** Buffers used in turn, so that together they are more than a last-level cache holds. */
function turns<T>(buffers: readonly T[]): () => T {
  let at = 0;
  return () => {
    const buffer = buffers[at]!;
    at = (at + 1) % buffers.length;
    return buffer;
  };
}

/** Float32 rows to NVFP4 with a given global scale; counted in bytes read, against copying as many. */
export function quantizeCases(c: BenchContext): BenchCase[] {
  const [m, k, copies] = c.quick ? [64, 256, 2] : [2048, 4096, 4];
  const inputs = lazy(() => {
    const first = new Random(5).floats(m * k);
    return [first, ...Array.from({ length: copies - 1 }, () => first.slice())];
  });
  return [
    {
      name: 'quantize',
      shape: `rows=${m} k=${k}`,
      target: 1.1,
      run(threads) {
        const next = turns(inputs());
        const kernels = c.gemm(threads);
        const offsets = Int32Array.of(m);
        const scale = Float32Array.of(4 / (6 * 448));
        const staging = { k, slotToken: null, inputs: 'nvfp4', globalDecodeScale: scale } as const;
        const staged = kernels.createStaged({ slots: m, k, inputs: ['nvfp4'] });
        const run = (): void => kernels.stage({ ...staging, x: next(), slots: m, expertOffsets: offsets, staged });
        run();
        const rows = 4; // of the plain twin, which is bound to the same bytes
        const twin = createGemmKernels({ backend: 'js' });
        const want = twin.createStaged({ slots: rows, k, inputs: ['nvfp4'] });
        twin.stage({ ...staging, x: inputs()[0]!, slots: rows, expertOffsets: Int32Array.of(rows), staged: want });
        const [got, wanted] = [staged, want].map((s) => stagedArrays(s) as Nvfp4Rows) as [Nvfp4Rows, Nvfp4Rows];
        checkSame('stage codes', got.codes, wanted.codes);
        checkSame('stage scales', got.sf, wanted.sf);
        return compare(c, threads, run, [{ kind: 'copy', amount: 4 * m * k }]);
      },
    },
  ];
}

/** Block scales to the 128x4 layout. */
export function swizzleCases(c: BenchContext): BenchCase[] {
  const swizzle = (label: 'hot' | 'cold', rows: number, kSf: number, copies: number): BenchCase => ({
    name: `swizzle-${label}`,
    shape: `rows=${rows} k_sf=${kSf} layout=128x4`,
    target: 0.95,
    run(threads) {
      const geometry = createSfGeometry({ rows, kSf, l: 1, layout: '128x4' });
      const sf = new Random(9).scales(rows * kSf);
      const next = turns(
        Array.from({ length: copies }, () => ({ sf: sf.slice(), out: new Uint8Array(geometry.allocationBytes) })),
      );
      const first = next();
      const shape = { rows, kSf, threads, backend: c.native ? 'auto' : 'js' } as const;
      swizzleScales128x4(first.sf, shape, first.out);
      for (let r = 0; r < rows; r += 37) {
        for (let s = 0; s < kSf; s += 5)
          checkSame('swizzleScales128x4', [first.out[sfOffset(geometry, r, s)]!], [sf[r * kSf + s]!]);
      }
      // In cache one call is too short for the clock's jitter, and what ran in between would have taken a part of the cache.
      const calls = label === 'hot' ? 32 : 1;
      const run = (): void => {
        for (let i = 0; i < calls; i++) {
          const { sf: from, out } = next();
          swizzleScales128x4(from, shape, out);
        }
      };
      const hot = label === 'hot' ? { hot: rows * kSf } : {};
      return compare(c, threads, run, [{ kind: 'copy', amount: calls * rows * kSf, ...hot }]);
    },
  });
  return c.quick
    ? [swizzle('hot', 256, 32, 1), swizzle('cold', 512, 64, 2)]
    : [swizzle('hot', 1024, 256, 1), swizzle('cold', 32768, 256, 8)];
}

/** One draw with temperature, top-k and top-p, against one pass that finds the largest logit. Both read cold logits. */
export function samplingCases(c: BenchContext): BenchCase[] {
  const vocab = c.quick ? 4096 : 129_280;
  return [
    {
      name: 'sampling',
      shape: `vocab=${vocab} temperature=0.8 top_k=50 top_p=0.95`,
      oneThread: true,
      target: 3,
      atMost: true,
      run(threads) {
        const first = new Random(11).floats(vocab, 3);
        const copies = c.quick ? 4 : 160; // 83 MB
        const next = turns([first, ...Array.from({ length: copies - 1 }, () => first.slice())]);
        const params = { temperature: 0.8, topK: 50, topP: 0.95, seed: 1 };
        const scan = c.native ? { scan: createLogitsScan({ backend: 'native' }) } : {};
        const sampler = new Sampler({ vocabSize: vocab, params, promptIds: [0], ...scan });
        const greedy = new Sampler({ vocabSize: vocab, params: { temperature: 0 }, promptIds: [0], ...scan });
        const best = first.indexOf(first.reduce((m, x) => Math.max(m, x)));
        checkSame('Sampler greedy', [greedy.sample(first).tokenId], [best]);
        const { tokenId } = sampler.sample(first);
        const better = first.filter((x) => x > first[tokenId]!).length;
        if (better >= 50) throw new BenchError(`Sampler: token ${tokenId} is number ${better + 1}, past top_k = 50`);
        // A few draws to a run: one is too short for the clock's jitter.
        const draws = 8;
        const { seconds, rates } = alternate(
          c,
          threads,
          () => {
            for (let i = 0; i < draws; i++) sampler.sample(next());
          },
          [{ kind: 'max', amount: 4 * vocab * draws }],
        );
        return { median: (seconds / draws) * 1e6, unit: 'us', ceiling: ((4 * vocab) / rates[0]!) * 1e6 };
      },
    },
  ];
}

/** RMS norm of rows with a weight: reads and writes as many bytes as a copy. */
export function normCases(c: BenchContext): BenchCase[] {
  const [m, d, copies] = c.quick ? [32, 256, 2] : [512, 4096, 8];
  return [
    {
      name: 'rms-norm',
      shape: `m=${m} d=${d}`,
      run(threads) {
        const random = new Random(13);
        const x = random.floats(m * d);
        const weight = random.floats(d);
        const next = turns(Array.from({ length: copies }, () => ({ x: x.slice(), out: new Float32Array(m * d) })));
        const kernels = c.gemm(threads);
        const first = next();
        const norm = { rows: m, d, weight, eps: 1e-6 };
        kernels.rmsNorm({ ...norm, x: first.x, out: first.out });
        for (const r of [0, m - 1]) {
          let square = 0;
          for (let i = 0; i < d; i++) square += x[r * d + i]! ** 2;
          const want = (x[r * d + 3]! * weight[3]!) / Math.sqrt(square / d + 1e-6);
          checkClose('rmsNorm', first.out[r * d + 3]!, want, Math.abs(want) * 1e-5);
        }
        const run = (): void => {
          const { x: from, out } = next();
          kernels.rmsNorm({ ...norm, x: from, out });
        };
        return compare(c, threads, run, [{ kind: 'copy', amount: 4 * m * d }]);
      },
    },
  ];
}

/** Hyper-connections before and after a block: 4 streams mixed by a [24, 4*D] float32 matrix. */
export function hyperConnectionCases(c: BenchContext): BenchCase[] {
  const [hc, d] = c.quick ? [4, 256] : [4, 4096];
  const mixes = (2 + hc) * hc;
  const hyper = (t: number, copies: number): BenchCase => ({
    name: 'hyper-connections',
    shape: `tokens=${t} hc=${hc} d=${d}`,
    run(threads) {
      const random = new Random(t);
      const streams = random.floats(t * hc * d);
      const fn = random.floats(mixes * hc * d, 0.01);
      const fns = turns(Array.from({ length: copies }, () => fn.slice()));
      const base = random.floats(mixes);
      const gain = Float32Array.of(1, 1, 1);
      const blockOut = random.floats(t * d);
      const outputs = () => ({
        post: new Float32Array(t * hc),
        comb: new Float32Array(t * hc * hc),
        collapsed: new Float32Array(t * d),
      });
      const coefficients = { base, gain, rmsNormEps: 1e-6, hcEps: 1e-6, iters: 20 };
      const made = outputs();
      const { post, comb, collapsed } = made;
      const kernels = c.gemm(threads);
      kernels.hcPre({ streams, rows: t, hc, d, fn, ...coefficients, ...made });
      const want = outputs();
      const twin = createGemmKernels({ backend: 'js' });
      twin.hcPre({ streams, rows: 1, hc, d, fn, ...coefficients, ...want });
      for (let i = 0; i < hc * hc; i++) checkClose('hcPre comb', comb[i]!, want.comb[i]!, 1e-4);
      for (let i = 0; i < hc; i++) checkClose('hcPre post', post[i]!, want.post[i]!, 1e-4);
      for (let i = 0; i < d; i += 17) checkClose('hcPre', collapsed[i]!, want.collapsed[i]!, 1e-3);
      const run = (): void => {
        kernels.hcPre({ streams, rows: t, hc, d, fn: fns(), ...coefficients, ...made });
        kernels.hcPost({ streams, blockOut, rows: t, hc, d, post, comb });
      };
      // Read fn and, twice, the streams and the block; write the streams and the collapsed row.
      const bytes = 4 * (mixes * hc * d + t * d * (3 * hc + 2));
      const operations = 2 * t * hc * d * (mixes + 1 + hc + 1);
      return t === 1
        ? compare(c, threads, run, [{ kind: 'read', amount: bytes }])
        : compare(c, threads, run, [
            { kind: 'fma', amount: operations },
            { kind: 'read', amount: bytes },
          ]);
    },
  });
  return [hyper(1, c.quick ? 2 : 32), hyper(c.quick ? 16 : 512, 1)];
}
