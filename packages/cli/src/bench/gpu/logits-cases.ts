import { firstNonFinite } from '@megamoe/core';
import { checkSame } from '../data';
import { compare, secondsOf } from '../measure';
import type { BenchCase } from '../types';
import type { GpuContext } from './context';

/** Logits on their way to the sampler: copied to the host and looked through for values that are not finite, as a step does. */
export function gpuLogitsCases(c: GpuContext): BenchCase[] {
  const v = c.step.vocab;
  return (c.quick ? [1, 2] : [1, 8, 64]).map((rows) => ({
    name: 'gpu-logits-scan',
    shape: `rows=${rows} vocab=${v}`,
    run() {
      const { backend } = c;
      const [n, bad] = [rows * v, rows * v - 1];
      const logits = new Float32Array(n);
      const x = backend.tensor(logits.map((_, i) => (i === bad ? Infinity : i)));
      const scan = (): number => {
        backend.download(x, 0, n, logits, 0);
        return backend.logitsScan?.firstNonFinite(logits, 0, n) ?? firstNonFinite(logits, 0, n);
      };
      try {
        checkSame('logitsScan', [scan()], [bad]);
        return compare({ ...c, seconds: secondsOf }, 1, scan, [{ kind: 'copy', amount: 4 * n }]);
      } finally {
        x.dispose();
      }
    },
  }));
}
