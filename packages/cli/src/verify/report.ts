import { errorText, shareOf, short, verdictText, type Coverage, type Finding, type OpSummary } from '@megamoe/verify';
import { table } from '../table';

/** What `megamoe verify --json` prints; numbers that are not finite are null. */
export interface VerifyReport {
  readonly model: string;
  readonly backend: string;
  /** What the experts' inputs went through: `nvfp4`, `nvfp4-dynamic` or `float`. */
  readonly activations: string;
  readonly passed: boolean;
  /** The first operation out of bound, in the order of the run. */
  readonly first: Finding | null;
  /** Every operation out of bound, each layer once. */
  readonly findings: readonly Finding[];
  readonly ops: readonly OpSummary[];
  readonly coverage: Coverage;
  /** The prompt, and what was decoded after it. */
  readonly tokenIds: readonly number[];
  readonly seconds: number;
  readonly warnings: readonly string[];
}

/** Operations in the order of a step, by group; what is not listed comes after its group. */
const GROUPS: readonly (readonly [name: string, ops: readonly string[]])[] = [
  ['Before the layers', ['plan', 'rope_tables', 'embed']],
  [
    'Attention: queries and keys',
    [
      'hc_attn.pre',
      'attn_norm',
      'attn.wq_a',
      'attn.q_norm',
      'attn.wq_b',
      'attn.q_head_norm',
      'attn.q_rope',
      'attn.wkv',
      'attn.kv_norm',
      'attn.kv_rope',
      'attn.window',
    ],
  ],
  [
    'Attention: compressed keys',
    [
      'attn.compressor.wkv',
      'attn.compressor.wgate',
      'attn.compressor.pool',
      'attn.indexer.compressor.wkv',
      'attn.indexer.compressor.wgate',
      'attn.indexer.compressor.pool',
      'attn.indexer.wq_b',
      'attn.indexer.q_rope',
      'attn.indexer.weights_proj',
      'attn.indexer.select',
    ],
  ],
  ['Attention: result', ['attn.visible', 'attn.attend', 'attn.out_rope', 'attn.wo_a', 'attn.wo_b', 'hc_attn.post']],
  ['Experts: routing', ['hc_ffn.pre', 'ffn_norm', 'ffn.gate', 'ffn.route', 'ffn.slots']],
  ['Experts: products', ['ffn.w13.stage', 'ffn.w13.gemm', 'ffn.swiglu', 'ffn.w2.stage', 'ffn.w2.gemm', 'ffn.scatter']],
  ['Shared expert', ['ffn.shared.w13', 'ffn.shared.swiglu', 'ffn.shared.w2', 'ffn.add_shared', 'hc_ffn.post']],
  [
    'At other precisions, a few rows of each',
    ['linear', 'stage', 'swigluStage', 'groupedGemm'].flatMap((op) =>
      ['f32', 'bf16', 'nvfp4'].map((p) => `${op}.${p}`),
    ),
  ],
  ['Whole layer', ['layer']],
  ['Head', ['hc_head', 'norm', 'head.rows', 'head']],
];

/** The operations that ran, in groups and in the order of a step. */
export function groupsOf(ops: readonly OpSummary[]): { name: string; ops: string[] }[] {
  const ran = new Set(ops.map((o) => o.op));
  const groups = GROUPS.map(([name, known]) => ({ name, ops: known.filter((op) => ran.delete(op)) }));
  if (ran.size > 0) groups.push({ name: 'Others', ops: [...ran] });
  return groups.filter((g) => g.ops.length > 0);
}

/** All layers of each operation, in the order of a step. */
export function byOperation(ops: readonly OpSummary[]): { op: string; of: readonly OpSummary[] }[] {
  return groupsOf(ops).flatMap((g) => g.ops.map((op) => ({ op, of: ops.filter((o) => o.op === op) })));
}

const shareIn = (o: OpSummary): number => shareOf(o.error, o.bound);

/** The layer that used most of its bound. */
export function worstLayer(of: readonly OpSummary[]): OpSummary {
  return of.reduce((a, b) => ((!b.passed && a.passed) || shareIn(b) > shareIn(a) ? b : a));
}

/** What the prompt reached, as sentences. */
export function coverageText(c: Coverage): string[] {
  const entries = Object.entries(c.entries).map(
    ([ratio, n]) => `${n} window${n === 1 ? '' : 's'} of ${ratio} tokens closed`,
  );
  const staged =
    c.stagedBlocks === 0 ? [] : [`${c.saturatedBlocks} of ${c.stagedBlocks} staged block scales saturated at 448`];
  return [
    `${c.pastWindow} queries (over all layers) past the window`,
    ...entries,
    `${c.indexerChose} queries for which the indexer left entries out`,
    `${c.experts.fewest === c.experts.most ? '' : `${c.experts.fewest} to `}${c.experts.most} of ${c.experts.of} experts reached in ${c.experts.fewest === c.experts.most ? 'every' : 'a'} layer`,
    ...staged,
  ];
}

/** The report for a terminal. */
export function reportText(r: VerifyReport): string {
  const rows = byOperation(r.ops).map(({ op, of }) => {
    const worst = worstLayer(of);
    const least = (pick: (o: OpSummary) => number | null, better: (a: number, b: number) => number): number | null =>
      of.reduce<number | null>((m, o) => (pick(o) === null ? m : m === null ? pick(o) : better(m, pick(o)!)), null);
    const cosine = least((o) => o.cosine, Math.min);
    return [
      of.every((o) => o.passed) ? 'ok' : 'BAD',
      op,
      of.length,
      of.reduce((n, o) => n + o.elements, 0),
      cosine === null ? '' : cosine > 1 - 1e-9 ? '1.000000000' : cosine.toFixed(9),
      short(least((o) => o.nmse, Math.max)),
      short(least((o) => o.maxAbs, Math.max)),
      errorText(worst),
      worst.bound === 0 ? 'equal' : short(worst.bound),
      worst.layer === null ? '' : worst.layer,
    ];
  });
  const header = ['', 'operation', 'layers', 'elements', 'cosine', 'NMSE', 'max abs', 'error', 'bound', 'worst layer'];
  const exact = Math.max(0, ...r.ops.map((o) => o.ulpFromExact ?? 0));
  const w4a4 = exact > 0 ? `W4A4 products are within ${exact.toPrecision(3)} ulp of the exact ones.\n` : '';
  const gaps = r.coverage.gaps.map((g) => `not verified: ${g}\n`).join('');
  return `${table(header, rows)}\n${w4a4}${coverageText(r.coverage).join('; ')}\n${gaps}\n${verdictText(r, r.backend)}\n`;
}
