/** Sums that stay in a tensor core: the bound covers how it adds, and no mistake. */
import { createBackend } from '@megamoe/model';
import { overlaid, type Backend, type OpArgs, type Tensors } from '@megamoe/ops';
import { seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { byItsMath, SumSizes } from '../src/checks/w4a4';
import { verifyBackend } from '../src/index';
import { measure } from '../src/measure';
import { MICRO_CONFIG, openMicro, someTokens, withNvfp4Experts } from './support';

/** Cut to a multiple of `unit`, towards zero. */
const cut = (x: number, unit: number): number => Math.trunc(x / unit) * unit;
const exponent = (x: number): number => 2 ** Math.floor(Math.log2(x));

/** Terms as a tensor core adds them in one go: aligned to the largest, cut below its 24th bit, and the sum cut to float32. */
function addInOneGo(terms: readonly number[]): number {
  const most = Math.max(...terms.map(Math.abs));
  if (most === 0) return 0;
  const unit = exponent(most) * 2 ** -23;
  const sum = terms.reduce((total, term) => total + cut(term, unit), 0);
  return sum === 0 ? 0 : cut(sum, exponent(Math.abs(sum)) * 2 ** -23);
}

describe('the bound of sums in a tensor core', () => {
  it.each([16, 8])('covers %i products in one go, and is not far off', (together) => {
    const r = seeded(together);
    const [n, k] = [40, 4096];
    // Products of codes and scales: twelve bits, over a wide range.
    const row = (): Float64Array =>
      Float64Array.from({ length: k }, () => (r.int(13) - 6) * 0.5 * (1 + r.int(8) / 8) * 2 ** -r.int(12));
    const [a, b] = [row(), new Float64Array(n * k)];
    for (let c = 0; c < n; c++) b.set(row(), c * k);
    const got = new Float64Array(n);
    const exact = new Float64Array(n);
    for (let c = 0; c < n; c++) {
      let sum = 0;
      for (let i = 0; i < k; i += together) {
        const terms = Array.from({ length: together }, (_, j) => a[i + j]! * b[c * k + i + j]!);
        sum = addInOneGo([sum, ...terms]);
        exact[c]! += terms.reduce((x, y) => x + y, 0);
      }
      got[c] = 0.75 * sum;
      exact[c]! *= 0.75;
    }
    const sizes = new SumSizes(n);
    sizes.add(a, b, { n, k, parts: 1, alpha: [0.75], rowScale: null }, (_, c) => c);
    const { bound, ...judged } = byItsMath(new Float32Array(n), exact, k, sizes);
    const { error } = measure({ output: 'out', got, shape: [n], bound, ...judged });
    expect(bound.limit).toBe(44);
    expect(error).toBeGreaterThan(0.1);
    expect(error).toBeLessThanOrEqual(bound.limit);
  });
});

describe('a backend with fast math', () => {
  const source = withNvfp4Experts(openMicro());
  const js = createBackend({ backend: 'js' });
  const tokenIds = someTokens(20, MICRO_CONFIG.vocabSize);
  type Product = OpArgs<'groupedGemm', Tensors>;
  const verify = (math: 'exact' | 'fast', spoil: (out: Float32Array) => void) => {
    const groupedGemm = (args: Product): void => {
      js.groupedGemm(args);
      if (args.staged.inputs !== 'nvfp4') return;
      const out = new Float32Array(args.out.length);
      js.download(args.out, 0, out.length, out, 0);
      spoil(out);
      js.upload(args.out, 0, out, 0, out.length);
    };
    const backend: Backend = overlaid(js, { w4a4Math: math, groupedGemm });
    return verifyBackend({ source, backend, tokenIds, decode: 0, everyPrecision: false });
  };
  const nudge = (by: number) => (out: Float32Array) => void out.forEach((x, i) => (out[i] = x * (1 + by)));

  it('may differ in its last bits, another may not', async () => {
    const ok = await verify('fast', nudge(2 ** -23));
    expect(ok.findings).toEqual([]);
    const product = ok.ops.find(({ op }) => op === 'ffn.w2.gemm')!;
    expect([product.metric, product.reason.slice(0, 29)]).toEqual(['roundings', 'sums stay in the tensor core ']);
    const { findings } = await verify('exact', nudge(2 ** -23));
    expect(findings[0]).toMatchObject({ operation: 'groupedGemm', metric: 'ulp' });
  });

  it('is found out when a product is wrong', async () => {
    const { findings } = await verify('fast', nudge(2 ** -10));
    expect(findings[0]).toMatchObject({ layer: 0, operation: 'groupedGemm', metric: 'roundings' });
  });
});
