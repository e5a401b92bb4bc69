import type { Finding, OpSummary } from './types';
import type { VerifyResult } from './verify-backend';

/** Up to three digits. */
export function short(x: number | null): string {
  if (x === null) return '';
  if (!Number.isFinite(x)) return 'not finite';
  if (x === 0) return '0';
  return Math.abs(x) >= 0.01 && Math.abs(x) < 1e5 ? String(Number(x.toPrecision(3))) : x.toExponential(1);
}

/** An error with its unit. */
export function errorText(o: Pick<OpSummary, 'metric' | 'error'>): string {
  const unit = { roundings: ' roundings', mismatches: ' differ', ulp: ' ulp', nmse: ' NMSE' }[o.metric];
  return `${short(o.error)}${unit}`;
}

/** A finding as a sentence. */
export function findingText(f: Finding): string {
  const place = f.layer === null ? '' : `layer ${f.layer}, `;
  const when = f.step.kind === 'prefill' ? 'prefill' : `decode at position ${f.step.position}`;
  const head = `${place}${f.op} (${when})`;
  if (f.message !== undefined) return `${head}: ${f.message}`;
  const worst = f.worst
    ? `${f.output}[${f.worst.index.join(', ')}] is ${f.worst.got}, should be ${f.worst.want}; `
    : '';
  const known = f.mistakes?.length ? `; this is what ${f.mistakes.join(' or ')} gives` : '';
  const dump = f.dump === undefined ? '' : `; more: megamoe explain ${f.dump}`;
  return `${head}: ${worst}${errorText(f)} where at most ${short(f.bound)} may be (${f.reason})${known}${dump}`;
}

/** The answer in one sentence; `backend` is what it is called. */
export function verdictText(r: Pick<VerifyResult, 'findings' | 'ops' | 'coverage'>, backend: string): string {
  const [first] = r.findings;
  const tokens = `${r.coverage.promptTokens} prompt and ${r.coverage.decodedTokens} decoded tokens`;
  if (!first) return `All ${r.ops.length} operations of ${backend} agree with the reference on ${tokens}.`;
  const more = r.findings.length > 1 ? ` (and ${r.findings.length - 1} more)` : '';
  return `First out of bound${more}: ${findingText(first)}`;
}
