/** `residual_mix`: the block's output spread over the residual streams, which mix. */
import { UNIT, type Prediction } from './compare';
import type { DumpReader } from './dump';
import { floatProblem } from './problem';
import type { Sample } from './sample';
import type { Problem } from './types';

/** Reads a `residual_mix` dump. */
export function RESIDUAL(reader: DumpReader): Problem {
  const streams = reader.floats('in.streams', ['S', 'hc', 'D']).data;
  const blockOut = reader.floats('in.out', ['S', 'D']).data;
  const post = reader.floats('in.post', ['S', 'hc']).data;
  const comb = reader.floats('in.comb', ['S', 'hc', 'hc']).data;
  const output = reader.floats('out.streams', ['S', 'hc', 'D'], 'anything');
  const [s, hc, d] = [reader.size('S'), reader.size('hc'), reader.size('D')];
  const mixed =
    (transposed: boolean, factor: number) =>
    ({ rows, columns }: Sample): Prediction => {
      const want = new Float64Array(rows.length * columns.length);
      const noise = new Float64Array(want.length);
      rows.forEach((row, i) => {
        const [token, k] = [Math.floor(row / hc), row % hc];
        columns.forEach((c, at) => {
          const first = factor * post[row]! * blockOut[token * d + c]!;
          let [sum, size] = [first, Math.abs(first)];
          for (let j = 0; j < hc; j++) {
            const weight = transposed ? comb[(token * hc + k) * hc + j]! : comb[(token * hc + j) * hc + k]!;
            const term = weight * streams[(token * hc + j) * d + c]!;
            sum += term;
            size += Math.abs(term);
          }
          want[i * columns.length + at] = sum;
          noise[i * columns.length + at] = UNIT * (4 + hc) * size;
        });
      });
      return { want, noise };
    };
  return floatProblem({
    output,
    m: s * hc,
    n: d,
    inner: hc,
    cost: { perRow: 4, perElement: 4 * hc },
    right: mixed(false, 1),
    candidates: [
      { id: 'residual-comb-transposed', predict: mixed(true, 1) },
      { id: 'residual-post-halved', predict: mixed(false, 0.5) },
    ],
  });
}
