/** Valid calls of operations, made from the list of operations of `@megamoe/ops`: arguments by name, arrays of the length that their shape says. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../lib/run.mjs';

const built = (name) => import(pathToFileURL(join(ROOT, 'packages', name, 'dist', 'index.js')));
export const { OPS, PagePool, pageKindsOf, SequencePages, StepRows } = await built('ops');

const compiled = new Map();
/** What a formula over the other arguments gives; 1 where one of them is null. */
function evaluate(formula, values) {
  let f = compiled.get(formula);
  if (f === undefined) {
    f = new Function('v', `return ${formula.replace(/[a-zA-Z][\w.]*/g, (name) => `v.${name.replaceAll('.', '?.')}`)}`);
    compiled.set(formula, f);
  }
  const n = Number(f(values));
  return Number.isFinite(n) ? Math.floor(n) : 1;
}

function scalar(r, kind, values) {
  if (kind.kind === 'count') {
    const most = kind.max === undefined ? Infinity : evaluate(kind.max, values);
    const n = Math.min(most, kind.min + r.pick([0, 1, 2, 3]));
    return n - (n % kind.multipleOf);
  }
  if (kind.kind === 'choice') return r.pick(kind.of);
  if (kind.kind === 'flag') return r.flag();
  return r.pick(kind.positive ? [1, 10, Infinity] : [1e-6, 1]);
}

function tensor(r, kind, values) {
  const n = kind.shape === '' ? r.int(1, 4) : evaluate(kind.shape, values);
  const spare = r.below(4) === 0 ? 2 : 0; // buffers may be larger than their shape
  if (kind.dtype === 'f32') return r.floats(n + spare);
  if (kind.dtype !== 'i32') throw new Error(`no arguments of type ${kind.dtype}`);
  if (kind.ends !== undefined) {
    const ends = r.ends(n, 2);
    const most = evaluate(kind.ends, values);
    return ends.map((end) => Math.min(end, most));
  }
  const min = Number(kind.min ?? 0);
  const below = kind.below === undefined ? 3 : evaluate(kind.below, values);
  return r.ints(n + spare, min, Math.max(min, Math.min(below - 1, 1 << 20)));
}

/**
 * Arguments of an operation. `given` are some of them, as handles; what else they need is made by the rules of the list. Returns what a table
 * gives for a call, without the function itself.
 */
export function opCall(r, name, given = {}) {
  const kinds = Object.entries(OPS[name].args);
  const args = { ...given };
  for (const [arg, kind] of kinds) if (kind.kind !== 'tensor' && !(arg in args)) args[arg] = scalar(r, kind, args);
  for (const [arg, kind] of kinds) {
    if (kind.kind !== 'tensor' || arg in args) continue;
    args[arg] = kind.optional && r.below(3) === 0 ? null : tensor(r, kind, args);
    if (kind.inPlace !== undefined && r.below(3) === 0) args[arg] = args[kind.inPlace];
  }
  const writes = kinds.filter(([, k]) => k.kind === 'tensor' && k.access !== 'reads').map(([arg]) => `0.${arg}`);
  return { args: [args], writes };
}
