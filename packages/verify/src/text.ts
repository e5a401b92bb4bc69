import { checkObject, checkOneOf, checkString, describe, KindError } from '@megamoe/core';
import type { Metric } from './bounds';
import type { Finding, OpSummary } from './types';
import type { VerifyResult } from './verify-backend';

/** Up to three digits. */
export function short(x: number | null): string {
  if (x !== null && typeof x !== 'number')
    throw new KindError(`short: "x" must be a number or null, got ${describe(x)}`);
  if (x === null) return '';
  if (!Number.isFinite(x)) return 'not finite';
  if (x === 0) return '0';
  return Math.abs(x) >= 0.01 && Math.abs(x) < 1e5 ? String(Number(x.toPrecision(3))) : x.toExponential(1);
}

/** An error with its unit. */
export function errorText(o: Pick<OpSummary, 'metric' | 'error'>): string {
  checkObject('errorText', 'o', o);
  return withUnit('errorText', o.metric, o.error);
}

const UNITS: Readonly<Record<Metric, string>> = {
  roundings: ' roundings',
  mismatches: ' differ',
  ulp: ' ulp',
  nmse: ' NMSE',
};

function withUnit(fn: string, metric: Metric, error: number): string {
  checkOneOf(fn, 'metric', metric, Object.keys(UNITS));
  checkNumberOf(fn, 'error', error);
  return `${short(error)}${UNITS[metric]}`;
}

function checkNumberOf(fn: string, arg: string, x: unknown): void {
  if (typeof x !== 'number') throw new KindError(`${fn}: "${arg}" must be a number, got ${describe(x)}`);
}

function checkList(fn: string, arg: string, list: unknown): asserts list is readonly unknown[] {
  if (!Array.isArray(list)) throw new KindError(`${fn}: "${arg}" must be a list, got ${describe(list)}`);
}

/** A finding as a sentence. */
export function findingText(f: Finding): string {
  return sentence('findingText', f);
}

function sentence(fn: string, f: Finding): string {
  checkObject(fn, 'finding', f);
  const { layer, op, step, message, worst, output, mistakes = [], dump, metric, error, bound, reason } = f;
  checkObject(fn, 'step', step);
  const { kind, position } = step;
  if (layer !== null) checkNumberOf(fn, 'layer', layer);
  for (const [arg, text] of Object.entries({ op, output, reason })) checkString(fn, arg, text);
  const place = layer === null ? '' : `layer ${layer}, `;
  checkOneOf(fn, 'step.kind', kind, ['prefill', 'decode']);
  checkNumberOf(fn, 'step.position', position);
  const when = kind === 'prefill' ? 'prefill' : `decode at position ${position}`;
  const head = `${place}${op} (${when})`;
  if (message !== undefined) {
    checkString(fn, 'message', message);
    return `${head}: ${message}`;
  }
  checkList(fn, 'mistakes', mistakes);
  for (const id of mistakes) checkString(fn, 'mistakes', id);
  if (dump !== undefined) checkString(fn, 'dump', dump);
  checkNumberOf(fn, 'bound', bound);
  const known = mistakes.length > 0 ? `; this is what ${mistakes.join(' or ')} gives` : '';
  const more = dump === undefined ? '' : `; more: megamoe explain ${dump}`;
  const far = withUnit(fn, metric, error);
  return `${head}: ${worstText(fn, output, worst)}${far} where at most ${short(bound)} may be (${reason})${known}${more}`;
}

function worstText(fn: string, output: string, worst: Finding['worst']): string {
  if (worst === null) return '';
  checkObject(fn, 'worst', worst);
  const { index, got, want } = worst;
  checkList(fn, 'worst.index', index);
  for (const [arg, x] of Object.entries({ 'worst.got': got, 'worst.want': want })) checkNumberOf(fn, arg, x);
  for (const i of index) checkNumberOf(fn, 'worst.index', i);
  return `${output}[${index.join(', ')}] is ${got}, should be ${want}; `;
}

/** The answer in one sentence; `backend` is what it is called. */
export function verdictText(r: Pick<VerifyResult, 'findings' | 'ops' | 'coverage'>, backend: string): string {
  const fn = 'verdictText';
  checkObject(fn, 'result', r);
  checkString(fn, 'backend', backend);
  const { findings, ops, coverage } = r;
  checkList(fn, 'findings', findings);
  checkList(fn, 'ops', ops);
  checkObject(fn, 'coverage', coverage);
  const { promptTokens, decodedTokens } = coverage;
  for (const [arg, n] of Object.entries({ promptTokens, decodedTokens })) checkNumberOf(fn, arg, n);
  const [first] = findings;
  const tokens = `${promptTokens} prompt and ${decodedTokens} decoded tokens`;
  if (findings.length === 0) return `All ${ops.length} operations of ${backend} agree with the reference on ${tokens}.`;
  const more = findings.length > 1 ? ` (and ${findings.length - 1} more)` : '';
  return `First out of bound${more}: ${sentence(fn, first!)}`;
}
