import { OP_NAMES, overlaid, type Backend, type OpArgs, type OpName, type Tensors } from '@megamoe/ops';
import { INTEGERS } from './bounds';
import { CHECKS } from './checks/index';
import type { Check, Checks, Judge } from './judge';
import type { Verdict } from './recorder';

const checks: Checks = CHECKS;
const PLAN: Verdict = { layer: null, op: 'plan', operation: null };

/** What the reference says of numbers that nothing can be computed from: NaN that an earlier operation left, or indices out of range. */
const isBadData = (e: unknown): e is Error =>
  e instanceof Error && ['ERR_VALUE', 'ERR_SHAPE'].includes((e as { code?: string }).code ?? '');

/** A step holds, on the backend, the rows that it was planned for. */
function judgedPlan(j: Judge): Backend['planStep'] {
  return (step, rows, cache, rope) => {
    j.watch.guarded(PLAN, () => j.backend.planStep(step, rows, cache, rope));
    j.registry.steps.set(step, { rows, cache, rope });
    const held = [
      { output: 'ids', tensor: step.ids, want: rows.ids.slice(0, rows.rows) },
      { output: 'positions', tensor: step.positions, want: rows.positions.slice(0, rows.rows) },
      { output: 'wanted_rows', tensor: step.wantedRows, want: rows.wantedRows.slice(0, rows.wanted) },
    ];
    const outputs = held.map(({ output, tensor, want }) => {
      j.watch.note(tensor, want.length, PLAN.op);
      return { output, got: j.watch.fetch(tensor, want.length), want, shape: [want.length], bound: INTEGERS };
    });
    const counts = { output: 'rows, sequences', got: [step.rows, step.sequences], want: [rows.rows, rows.sequences] };
    j.take(PLAN, [{ ...counts, shape: [2], bound: INTEGERS }, ...outputs]);
    j.notes.step(rows.sequences);
  };
}

/** A backend whose every operation is judged when it has run. What it makes, it makes itself, and on the same path as without a judge. */
export function judgedBackend(j: Judge): Backend {
  const operations = OP_NAMES.map(<N extends OpName>(name: N) => {
    const check: Check<N> = checks[name];
    const run = j.backend[name] as (args: OpArgs<N, Tensors>) => void;
    const judged = (args: OpArgs<N, Tensors>): void => {
      const at = check.at(args, j);
      const call = j.watch.run(at, name, args, () => run.call(j.backend, args));
      j.notes.called(name);
      try {
        check.judge(call, at, j);
      } catch (e) {
        throw isBadData(e) ? j.recorder.stop(at, `the reference cannot judge it: ${e.message}`) : e;
      }
    };
    return [name, judged] as const;
  });
  return overlaid(j.backend, {
    ...(Object.fromEntries(operations) as Partial<Backend>),
    ...j.registry.making(j.backend),
    planStep: judgedPlan(j),
  });
}
