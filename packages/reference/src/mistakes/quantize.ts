/** `quantize_nvfp4`: codes and block scales, compared byte for byte. */
import { Tally } from './compare';
import type { DumpReader } from './dump';
import { EXACT } from './levels';
import { NIBBLE_MISTAKES, repack } from './nibbles';
import { amaxRule, mostlySaturated, stage, stagedValue, stagingSlack } from './staging';
import type { Candidate, Judged, Problem } from './types';

interface Bytes {
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
}

/**
 * Loosely: the values are the same but for elements on a rounding boundary of float32 (-0 is 0, and the scale of an all-zero block does
 * not matter).
 */
function judge(got: Bytes, want: Bytes, k: number, slack: () => Float64Array | undefined): Judged {
  const tally = new Tally();
  let allowed: { slack: Float64Array | undefined } | undefined;
  const near = (i: number): boolean => {
    allowed ??= { slack: slack() };
    const d = Math.abs(stagedValue(got, i) - stagedValue(want, i)); // NaN scales are never near
    return d <= (allowed.slack?.[i] ?? 0);
  };
  const nibble = (codes: Uint8Array, i: number): number => (i % 2 === 0 ? codes[i >> 1]! & 15 : codes[i >> 1]! >> 4);
  const kSf = k / 16;
  for (let block = 0; block < got.sf.length; block++) {
    const [g, w] = [got.sf[block]!, want.sf[block]!];
    const close = (): boolean => Array.from({ length: 16 }, (_, i) => block * 16 + i).every(near);
    tally.add(g, w, g === w, g !== w && close(), () => `out.sf[${Math.floor(block / kSf)}, ${block % kSf}] (byte)`);
  }
  for (let i = 0; i < got.codes.length * 2; i++) {
    const [g, w] = [nibble(got.codes, i), nibble(want.codes, i)];
    tally.add(g, w, g === w, g !== w && near(i), () => `out.codes, element [${Math.floor(i / k)}, ${i % k}]`);
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
  const slackOf = (scale: number) => (): Float64Array | undefined =>
    stagingSlack(
      x,
      Float64Array.from(x, (v) => Math.abs(v) * 2 ** -22),
      k,
      () => scale,
    );
  const add = (id: string, rank: 0 | 1, reading: string, make: () => Bytes, scale = g): void => {
    let known: Judged | undefined;
    candidates.push({ id, rank, reading, judge: () => (known ??= judge(got, make(), k, slackOf(scale))) });
  };

  const asGiven = stage(x, k, () => g);
  const saturated = mostlySaturated(asGiven);
  const scale = saturated ? amaxRule(x) : g;
  const right = saturated ? stage(x, k, () => scale) : asGiven;
  const notes: string[] = [];
  if (saturated) {
    notes.push(
      `${asGiven.saturated} of ${asGiven.filled} block scales are cut off at 448 with the scale given, ${g}; amax / (6 * 448) is ${scale}.`,
    );
    add('input-scale-saturated', 0, '', () => asGiven);
  }
  for (const { id, order, rank, reading } of NIBBLE_MISTAKES) {
    add(id, rank, reading, () => ({ codes: repack(right.codes, order), sf: right.sf }), scale);
  }
  const scaled = (id: string, reading: string, wrong: number): void => {
    const s = Math.fround(wrong);
    if (s > 0 && Number.isFinite(s)) add(id, 0, reading, () => stage(x, k, () => s), s);
  };
  scaled('global-scale-inverted', 'Quantized with the encode scale 1 / g', 1 / g);
  scaled('global-scale-missing', 'Quantized without a global scale', 1);
  scaled('global-scale-twice', 'Quantized with g squared', g * g);
  let known: Judged | undefined;
  return {
    elements: got.codes.length * 2 + got.sf.length,
    levels: [EXACT],
    right: { judge: () => (known ??= judge(got, right, k, slackOf(scale))) },
    candidates,
    notes,
    looseNote: 'The bytes are not all the same, but the values are, or lie on a rounding boundary of float32.',
  };
}
