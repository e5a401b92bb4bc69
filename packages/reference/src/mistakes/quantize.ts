/** `quantize_nvfp4`: codes and block scales, compared byte for byte. */
import { Tally } from './compare';
import type { DumpReader } from './dump';
import { EXACT, exactVariant, type Level } from './levels';
import { NIBBLE_MISTAKES, repack } from './nibbles';
import { amaxRule, mostlySaturated, QUOTIENTS, stage, type Division } from './staging';
import type { Candidate, Judged, Problem } from './types';

interface Bytes {
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
}

/** A way of published kernels to divide: not the bytes of another, and right. */
interface Way {
  readonly level: Level;
  readonly division: Division;
}

const f = Math.fround;
const WAYS: readonly [Way, ...Way[]] = [
  { level: EXACT, division: QUOTIENTS },
  {
    level: exactVariant({ id: 'reciprocal', text: 'with elements multiplied by the reciprocal of their step' }),
    division: { ...QUOTIENTS, element: (x, sf, g) => f(x * f(1 / f(sf * g))) },
  },
  {
    level: exactVariant({ id: 'encode', text: 'with the encode scale 1 / g and products by reciprocals' }),
    division: {
      scale: (amax, g) => f(f(1 / g) * f(amax * f(1 / 6))),
      element: (x, sf, g) => f(x * f(1 / f(sf * f(1 / f(1 / g))))),
    },
  },
];

const LEVELS: readonly [Level, ...Level[]] = [EXACT, ...WAYS.slice(1).map(({ level }) => level)];

const nibble = (codes: Uint8Array, i: number): number => (i % 2 === 0 ? codes[i >> 1]! & 15 : codes[i >> 1]! >> 4);
const isZero = (code: number): boolean => (code & 7) === 0;

/** Loosely: but for the sign of zeros, and the scales of blocks that are all zero. */
function judge(got: Bytes, want: Bytes, k: number): Judged {
  const tally = new Tally();
  const kSf = k / 16;
  const zero = (i: number): boolean => isZero(nibble(got.codes, i)) && isZero(nibble(want.codes, i));
  for (let block = 0; block < got.sf.length; block++) {
    const [g, w] = [got.sf[block]!, want.sf[block]!];
    const empty = (): boolean => Array.from({ length: 16 }, (_, i) => block * 16 + i).every(zero);
    tally.add(g, w, g === w, g !== w && empty(), () => `out.sf[${Math.floor(block / kSf)}, ${block % kSf}] (byte)`);
  }
  for (let i = 0; i < got.codes.length * 2; i++) {
    const [g, w] = [nibble(got.codes, i), nibble(want.codes, i)];
    tally.add(g, w, g === w, zero(i), () => `out.codes, element [${Math.floor(i / k)}, ${i % k}]`);
  }
  return tally.result();
}

/** Reads a `quantize_nvfp4` dump. */
export function QUANTIZE(reader: DumpReader): Problem {
  const x = reader.floats('in.x', ['R', 'K']).data;
  const k = reader.multipleOf('K', 16, 'in.x');
  const g = reader.floats('in.global_decode_scale', []).data[0]!;
  if (!(g > 0)) throw reader.fail(`expected a number above 0, found ${g}`, 'in.global_decode_scale');
  const got: Bytes = {
    codes: reader.bytes('out.codes', ['R', 'K/2']),
    sf: reader.bytes('out.sf', ['R', 'K/16']),
  };
  const candidates: Candidate[] = [];
  /** Judged once for each way to divide. */
  const judgeOf = (make: (division: Division) => Bytes): Candidate['judge'] => {
    const known = new Map<Level, Judged>();
    return (_, level) => {
      const { division } = WAYS.find((way) => way.level === level) ?? WAYS[0];
      let judged = known.get(level);
      if (!judged) known.set(level, (judged = judge(got, make(division), k)));
      return judged;
    };
  };
  const add = (id: string, rank: 0 | 1, reading: string, make: (division: Division) => Bytes): void =>
    void candidates.push({ id, rank, reading, judge: judgeOf(make) });

  const asGiven = stage(x, k, () => g);
  const saturated = mostlySaturated(asGiven);
  const scale = saturated ? amaxRule(x) : g;
  const right = (division: Division): Bytes => stage(x, k, () => scale, division);
  const notes: string[] = [];
  if (saturated) {
    notes.push(
      `${asGiven.saturated} of ${asGiven.filled} block scales are cut off at 448 with the scale given, ${g}; amax / (6 * 448) is ${scale}.`,
    );
    add('input-scale-saturated', 0, '', (division) => stage(x, k, () => g, division));
  }
  for (const { id, order, rank, reading } of NIBBLE_MISTAKES) {
    add(id, rank, reading, (division) => {
      const { codes, sf } = right(division);
      return { codes: repack(codes, order), sf };
    });
  }
  const scaled = (id: string, reading: string, wrong: number): void => {
    const s = Math.fround(wrong);
    if (s > 0 && Number.isFinite(s)) add(id, 0, reading, (division) => stage(x, k, () => s, division));
  };
  scaled('global-scale-inverted', 'Quantized with the encode scale 1 / g', 1 / g);
  scaled('global-scale-missing', 'Quantized without a global scale', 1);
  scaled('global-scale-twice', 'Quantized with g squared', g * g);
  return {
    elements: got.codes.length * 2 + got.sf.length,
    levels: LEVELS,
    right: { judge: judgeOf(right) },
    candidates,
    notes,
    looseNote:
      'The bytes are not all the same, but the values are: signs of zeros, or scales of blocks that are all zero.',
  };
}
