/** `scale_layout`: swizzled block scales, compared byte for byte. */
import { Tally } from './compare';
import type { DumpReader } from './dump';
import { EXACT } from './levels';
import { originOf, raggedBlocks, rightBuffer, sameBytes, weightBlocks, wrongBuffers, type ScaleSource } from './scales';
import type { Candidate, Judged, Problem } from './types';

function readSource(reader: DumpReader): ScaleSource {
  const side = reader.word('side', ['rows', '2d', '3d']);
  if (side === '3d') {
    const sf = reader.bytes('in.sf', ['E', 'N', 'kSf']);
    return { sf, kSf: reader.size('kSf'), blocks: weightBlocks(reader.size('E'), reader.size('N')), weights: true };
  }
  const sf = reader.bytes('in.sf', ['R', 'kSf']);
  const rows = reader.size('R');
  const blocks =
    side === 'rows' ? [{ start: 0, rows }] : raggedBlocks(reader.offsets('in.expert_offsets', ['E'], rows));
  return { sf, kSf: reader.size('kSf'), blocks, weights: false };
}

function judgeBytes(got: Uint8Array, want: Uint8Array, source: ScaleSource, sameLength: boolean): Judged {
  const tally = new Tally();
  for (let i = 0; i < Math.max(got.length, want.length); i++) {
    const [g, w] = [got[i] ?? 0, want[i] ?? 0];
    tally.add(g, w, g === w, false, () => {
      const from = originOf(i, source);
      return `out.sf_swizzled[${i}] (${from ? `expert ${from.e}, row ${from.row}, k group ${from.k}` : 'padding'})`;
    });
  }
  const judged = tally.result();
  if (judged.tier !== 'tight' || !sameLength || got.length === want.length) return judged;
  const misfit = { where: 'length of out.sf_swizzled', got: got.length, want: want.length };
  return { ...judged, tier: 'loose', outside: Math.abs(got.length - want.length), misfit };
}

/** Real bytes right, padding as it came. */
function withPaddingOf(got: Uint8Array, right: Uint8Array, source: ScaleSource): Uint8Array {
  const real = rightBuffer({ ...source, sf: new Uint8Array(source.sf.length).fill(1) });
  return right.map((byte, i) => (real[i] === 1 ? byte : got[i]!));
}

/** Reads a `scale_layout` dump. */
export function SCALE_LAYOUT(reader: DumpReader): Problem {
  const source = readSource(reader);
  const got = reader.buffer('out.sf_swizzled');
  const right = rightBuffer(source);
  const candidate = (id: string, rank: 0 | 1, reading: string, buffer: Uint8Array): Candidate => {
    // Bytes past a buffer read as zero, so a shorter or longer one may still be this mistake; one of the same length is nearer to it.
    const length = got.length === buffer.length ? '' : `Its buffer has ${buffer.length} bytes, this one ${got.length}.`;
    return {
      id,
      rank: length ? 1 : rank,
      reading,
      detail: length,
      judge: () => judgeBytes(got, buffer, source, false),
    };
  };
  const candidates = wrongBuffers(source)
    .map(({ id, rank, reading, buffer }) => ({ id, rank, reading, buffer: buffer() }))
    .filter(
      ({ buffer }) => !sameBytes(buffer, right) || (buffer.length !== right.length && buffer.length === got.length),
    )
    .map(({ id, rank, reading, buffer }) => candidate(id, rank, reading, buffer));
  if (got.length === right.length && !sameBytes(got, right)) {
    candidates.push(candidate('scales-padding-not-zero', 1, '', withPaddingOf(got, right, source)));
  }
  return {
    elements: Math.max(got.length, right.length),
    levels: [EXACT],
    right: { judge: () => judgeBytes(got, right, source, true) },
    candidates,
    notes: [],
    looseNote: `The bytes are right; out.sf_swizzled has ${got.length} where the right buffer has ${right.length}, and the others are zero.`,
  };
}
