/** `rope`: rotary positions on rows [S, D]. */
import { ropeFrequencies } from '../rope';
import { UNIT, type Prediction } from './compare';
import type { DumpReader } from './dump';
import { floatProblem, type FloatCandidate } from './problem';
import type { Sample } from './sample';
import type { Problem } from './types';

/** Which dims turn together. */
export type Pairs = 'interleaved' | 'half-split' | 'half-split-sorted';

/** How one row is turned. */
export interface Turn {
  readonly frequencies: Float64Array;
  /** Rotate by the angle times this: 1, -1 for the way back. */
  readonly direction: 1 | -1;
  readonly pairs: Pairs;
  /** The first ropeDim dims turn, not the last. */
  readonly leading: boolean;
}

/**
 * Turns one row in place, and with it `noise`, the bound of its float32 error. An angle is uncertain by some 2^-20 of itself: published
 * code rounds the frequency (a power of theta) and the product to float32, other code does not.
 */
export function turnRow(row: Float64Array, noise: Float64Array, position: number, turn: Turn): void {
  const { frequencies, direction, pairs, leading } = turn;
  const half = frequencies.length;
  const start = leading ? 0 : row.length - 2 * half;
  const source = row.slice();
  const before = noise.slice();
  for (let i = 0; i < half; i++) {
    const at = pairs === 'interleaved' ? start + 2 * i : start + i;
    const other = pairs === 'interleaved' ? at + 1 : at + half;
    // Sorted: the pairs are read interleaved, and left sorted by half.
    const from = pairs === 'half-split-sorted' ? start + 2 * i : at;
    const from2 = pairs === 'half-split-sorted' ? from + 1 : other;
    const angle = Math.fround(position * frequencies[i]!) * direction;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [a, b] = [source[from]!, source[from2]!];
    row[at] = a * cos - b * sin;
    row[other] = b * cos + a * sin;
    const error =
      before[from]! + before[from2]! + (Math.abs(a) + Math.abs(b)) * (4 * UNIT + Math.abs(angle) * 2 ** -20);
    noise[at] = error;
    noise[other] = error;
  }
}

/** Frequencies with and without YaRN, and which of them is right for a layer. */
export function frequenciesOf(
  reader: DumpReader,
  compressed: boolean,
  d: number,
): { right: Float64Array; plain: Float64Array; stretched: Float64Array | undefined } {
  const ropeDim = reader.number('rope_dim', { min: 0, integer: true });
  if (ropeDim % 2 !== 0 || ropeDim > d) {
    throw reader.fail(`__metadata__ "rope_dim": expected an even number, at most D = ${d}, found ${ropeDim}`);
  }
  const theta = reader.number('rope_theta', { min: 1 });
  const yarn = reader.yarn();
  const plain = ropeFrequencies({ ropeDim, theta });
  const stretched = yarn && ropeFrequencies({ ropeDim, theta, yarn });
  return { right: compressed && stretched ? stretched : plain, plain, stretched };
}

/** Reads a `rope` dump. */
export function ROPE(reader: DumpReader): Problem {
  const compressed = reader.word('layer', ['window', 'compressed']) === 'compressed';
  const x = reader.floats('in.x', ['S', 'D']).data;
  const [s, d] = [reader.size('S'), reader.size('D')];
  const positions = reader.ids('in.positions', ['S'], 0, 2 ** 31 - 1);
  const output = reader.floats('out', ['S', 'D'], 'anything');
  const { right, plain, stretched } = frequenciesOf(reader, compressed, d);
  const turned =
    (turn: Partial<Turn>) =>
    ({ rows, columns }: Sample): Prediction => {
      const want = new Float64Array(rows.length * columns.length);
      const noise = new Float64Array(want.length);
      rows.forEach((row, i) => {
        const values = Float64Array.from(x.subarray(row * d, (row + 1) * d));
        const errors = new Float64Array(d);
        turnRow(values, errors, positions[row]!, {
          frequencies: right,
          direction: 1,
          pairs: 'interleaved',
          leading: false,
          ...turn,
        });
        columns.forEach((column, j) => {
          want[i * columns.length + j] = values[column]!;
          noise[i * columns.length + j] = errors[column]!;
        });
      });
      return { want, noise };
    };
  const candidates: FloatCandidate[] = [
    { id: 'rope-half-split', predict: turned({ pairs: 'half-split' }) },
    {
      id: 'rope-half-split',
      rank: 1,
      reading: 'Pairs of neighbours turned, and left sorted into halves',
      predict: turned({ pairs: 'half-split-sorted' }),
    },
    { id: 'rope-leading-dims', predict: turned({ leading: true }) },
    {
      id: 'rope-leading-dims',
      rank: 1,
      reading: 'Pairs i and i + d/2',
      predict: turned({ leading: true, pairs: 'half-split' }),
    },
    { id: 'rope-backwards', predict: turned({ direction: -1 }) },
  ];
  if (stretched) {
    candidates.push(
      compressed
        ? { id: 'yarn-missing', predict: turned({ frequencies: plain }) }
        : { id: 'yarn-on-window-layer', predict: turned({ frequencies: stretched }) },
    );
  }
  return floatProblem({
    output,
    m: s,
    n: d,
    cost: { perRow: 40 * d, perElement: 1 },
    right: turned({}),
    candidates,
  });
}
