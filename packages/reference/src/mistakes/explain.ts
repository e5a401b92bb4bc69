/** Tries the catalogue of mistakes against a dump. */
import { ATTENTION } from './attention';
import { ruleOf } from './catalogue';
import { DumpReader } from './dump';
import { GEMM } from './gemm';
import type { Level } from './levels';
import { MOE } from './moe';
import { PENALTY } from './penalty';
import { QUANTIZE } from './quantize';
import { RESIDUAL } from './residual';
import { ROPE } from './rope';
import { ROUTE } from './route';
import { SCALE_LAYOUT } from './scale-layout';
import { best, search, stepsOf, type Found, type Tried } from './search';
import { takeDump } from './take-dump';
import type { Dump, Explanation, FoundMistake, Judged, Problem } from './types';

/** Reads a dump of one operation. */
const OPERATIONS: Readonly<Record<string, (reader: DumpReader) => Problem>> = {
  scale_layout: SCALE_LAYOUT,
  quantize_nvfp4: QUANTIZE,
  grouped_gemm_nvfp4: GEMM,
  route: ROUTE,
  moe_nvfp4: MOE,
  attention: ATTENTION,
  rope: ROPE,
  residual_mix: RESIDUAL,
  penalty: PENALTY,
};

const NEAREST = 5;

const FLOAT_TYPES = ['F32', 'BF16', 'F16'];

const count = (n: number, of: number): string => (n === of ? `all ${n}` : `${n} of ${of}`);
const short = (x: number): string => (Number.isFinite(x) && x !== 0 ? Number(x.toPrecision(4)).toString() : String(x));

function evidenceOf(
  { candidate, judged }: Tried,
  right: Judged,
  problem: Problem,
  level: Level | undefined,
  others: readonly string[],
): string {
  const { reading, detail } = candidate;
  const parts: string[] = [];
  if (reading) parts.push(`${reading}.`);
  const compared = `${judged.compared}${judged.compared === problem.elements ? '' : ` compared of ${problem.elements}`}`;
  if (judged.tier === 'no') {
    parts.push(`Does not reproduce the output: ${judged.outside} of ${compared} elements differ`);
    if (judged.misfit)
      parts.push(
        `first ${judged.misfit.where}: the output has ${short(judged.misfit.got)}, this mistake gives ${short(judged.misfit.want)}.`,
      );
  } else {
    parts.push(
      `Reproduces ${judged.compared === problem.elements ? `all ${judged.compared} elements` : compared} ` +
        `${judged.tier === 'tight' ? 'within rounding' : "within one step of the output's dtype"}` +
        `${level?.text ? `, ${level.text}` : ''} (max abs ${short(judged.maxAbs)});`,
    );
    const { misfit } = right;
    parts.push(
      `the right computation misses ${count(right.outside, right.compared)} (cosine ${short(right.cosine)})` +
        (misfit ? `, first ${misfit.where}: got ${short(misfit.got)}, right ${short(misfit.want)}.` : '.'),
    );
  }
  if (detail) parts.push(detail);
  if (others.length > 0) parts.push(`On this input it coincides with ${others.join(', ')}.`);
  return parts.join(' ').replace(/differ first/, 'differ, first');
}

const finite = (x: number): number => (Number.isFinite(x) ? x : 0);

function found(
  tried: Tried,
  right: Judged,
  problem: Problem,
  level?: Level,
  others: readonly string[] = [],
): FoundMistake {
  return {
    id: tried.candidate.id,
    cosine: finite(tried.judged.cosine),
    maxAbs: finite(tried.judged.maxAbs),
    evidence: evidenceOf(tried, right, problem, level, others),
    rule: ruleOf(tried.candidate.id),
  };
}

/** A mistake that changes nothing of what was compared is near nothing. */
function same(judged: Judged, right: Judged): boolean {
  return judged.outside === right.outside && Math.abs(judged.nmse - right.nmse) <= 1e-9 * right.nmse;
}

/** What is not a number in the outputs. */
function nonFinite(dump: Dump): string[] {
  const reader = new DumpReader(dump);
  return [...dump.tensors].flatMap(([name, { dtype, shape }]) => {
    if (!name.startsWith('out') || !FLOAT_TYPES.includes(dtype)) return [];
    let [nan, infinite] = [0, 0];
    for (const v of reader.floats(name, shape, 'anything').data) {
      if (Number.isNaN(v)) nan++;
      else if (!Number.isFinite(v)) infinite++;
    }
    if (nan + infinite === 0) return [];
    return [`${name} holds ${nan} NaN and ${infinite} infinite elements; cosine and max abs are over the others.`];
  });
}

/** What all elements of all outputs are when they are one and the same number, in words: that is no kernel's doing. */
function constantOutput(dump: Dump): string | undefined {
  const reader = new DumpReader(dump);
  const outputs = [...dump.tensors].filter(([name]) => name.startsWith('out'));
  const values = outputs.map(([name, { dtype, shape, bytes }]) => {
    const data: ArrayLike<number> = FLOAT_TYPES.includes(dtype) ? reader.floats(name, shape, 'anything').data : bytes;
    const first = data[0];
    return data.length > 1 && Array.prototype.every.call(data, (v) => v === first || Object.is(v, first))
      ? first
      : undefined;
  });
  const [value] = values;
  if (value === undefined || values.includes(undefined)) return undefined;
  if (new Set(values).size > 1) return undefined;
  const what = outputs.some(([, { dtype }]) => FLOAT_TYPES.includes(dtype)) ? 'element' : 'byte';
  return `${outputs.map(([name]) => name).join(' and ')}: every ${what} is ${value}`;
}

/** How far {@link explainSteps} is: computations tried, and an upper bound of how many there are. */
export interface ExplainProgress {
  readonly done: number;
  readonly total: number;
}

/**
 * Tries every known mistake of the dump's operation.
 *
 * `agrees` when the right computation reproduces the output within the precision of its dtype (see `compare.ts`). Else `mistakes` holds
 * those that do; one that changes nothing on this input cannot be among them. `nearest` holds the others that
 * change something, by cosine. `level` says where what reproduces it rounds (see `levels.ts`).
 * @throws CheckpointError for a dump that lacks something or contradicts itself
 */
export function explainDump(dump: Dump): Explanation {
  const steps = explain(takeDump('explainDump', dump));
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** {@link explainDump} step by step, so that a caller can show progress, and stop: a real layer takes a while. */
export function explainSteps(dump: Dump): Generator<ExplainProgress, Explanation> {
  return explain(takeDump('explainSteps', dump));
}

function* explain(dump: Dump): Generator<ExplainProgress, Explanation> {
  const reader = new DumpReader(dump);
  const op = reader.word('op', Object.keys(OPERATIONS));
  yield { done: 0, total: 1 };
  const problem = OPERATIONS[op]!(reader);
  const notes = [...problem.notes, ...nonFinite(dump)];
  const unused = reader.unused();
  if (unused.length > 0) notes.push(`Not looked at, no part of ${op}: ${unused.join(', ')}.`);
  const constant = constantOutput(dump);
  if (constant !== undefined && problem.right.judge('full', problem.levels[0]).tier === 'no')
    return provesNothing(op, problem, notes, constant);
  const total = stepsOf(problem) + 1;
  const searching = search(problem);
  for (let done = 0; ; done++) {
    yield { done, total };
    const step = searching.next();
    if (!step.done) continue;
    if (constant !== undefined)
      notes.unshift(`${constant}. That is right here, and what a kernel that never ran may leave.`);
    return answer(op, problem, notes, step.value);
  }
}

/** A mistake that gives the same number everywhere is as good as any other, and as a kernel that never ran. */
function provesNothing(op: string, problem: Problem, notes: string[], constant: string): Explanation {
  const said = `${constant}. That proves nothing about what is wrong: the kernel never ran, wrote elsewhere or was fed nothing.`;
  const nothing: Found = { agrees: false, level: undefined, loosely: false, listed: [], tried: [] };
  return { ...answer(op, problem, [said, ...notes], nothing), constant };
}

function answer(
  op: string,
  problem: Problem,
  notes: string[],
  { agrees, level, loosely, listed, tried }: Found,
): Explanation {
  const [base] = problem.levels;
  const atBase = problem.right.judge('full', base);
  const right = level ? problem.right.judge('full', level) : atBase;
  const { cosine, maxAbs, outside, compared } = right;
  const ids = listed.map(({ candidate }) => candidate.id);
  if (ids.length > 1) notes.push(`${ids.join(' and ')} coincide on this input: the output does not tell them apart.`);
  if (agrees && loosely) {
    notes.push(
      problem.looseNote ??
        `Agrees within one step of the output's dtype; ${outside} of ${compared} elements are not the nearest value.`,
    );
  } else if (agrees && level !== base) {
    notes.push(`Without that rounding ${count(atBase.outside, atBase.compared)} elements would differ.`);
  }
  if (compared < problem.elements) {
    const met = (level && problem.coverage?.()) ?? 'spread over the output';
    notes.push(`Compared: ${compared} of ${problem.elements} elements, ${met}; the rest was not computed.`);
  }
  const beside = ({ scope }: Tried): Judged => problem.right.judge(scope, base);
  const others = tried.filter((t) => !ids.includes(t.candidate.id) && !same(t.judged, beside(t)));
  const nearest = agrees ? [] : best(others);
  nearest.sort((a, b) => finite(b.judged.cosine) - finite(a.judged.cosine) || a.judged.nmse - b.judged.nmse);
  const besides = (own: string): string[] => ids.filter((id) => id !== own);
  return {
    op,
    agrees,
    level: level?.name ?? 'none',
    levelText: level?.text ?? '',
    mistakes: listed.map((t) => found(t, right, problem, level, besides(t.candidate.id))),
    nearest: nearest
      .slice(0, NEAREST)
      .map((t) => ({ ...found(t, atBase, problem), rightCosine: finite(beside(t).cosine) })),
    right: { cosine: finite(cosine), maxAbs: finite(maxAbs), outside, compared, elements: problem.elements },
    notes,
  };
}
