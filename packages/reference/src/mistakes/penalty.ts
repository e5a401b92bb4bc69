/** `penalty`: repetition, presence and frequency penalties, in vLLM's order. */
import { UNIT, type Prediction } from './compare';
import type { DumpReader } from './dump';
import { floatProblem } from './problem';
import type { Sample } from './sample';
import type { Problem } from './types';

/** Which ids count, and how. */
interface Rule {
  readonly repeated: readonly ArrayLike<number>[];
  /** Counted by presence and frequency. */
  readonly counted: readonly ArrayLike<number>[];
  readonly divideNegative?: boolean;
}

/** Reads a `penalty` dump. */
export function PENALTY(reader: DumpReader): Problem {
  const logits = reader.floats('in.logits', ['V'], 'infinite').data;
  const v = reader.size('V');
  const prompt = reader.ids('in.prompt_ids', ['P'], 0, v - 1);
  const said = reader.ids('in.output_ids', ['O'], 0, v - 1);
  const output = reader.floats('out.logits', ['V'], 'anything');
  const repetition = reader.number('repetition_penalty', { fallback: 1 });
  if (!(repetition > 0))
    throw reader.fail(`__metadata__ "repetition_penalty": expected a number above 0, found ${repetition}`);
  const presence = reader.number('presence_penalty', { fallback: 0 });
  const frequency = reader.number('frequency_penalty', { fallback: 0 });

  const penalized =
    ({ repeated, counted, divideNegative = false }: Rule) =>
    ({ columns }: Sample): Prediction => {
      const seen = new Set(repeated.flatMap((ids) => Array.from(ids)));
      const times = new Map<number, number>();
      for (const ids of counted) for (const id of Array.from(ids)) times.set(id, (times.get(id) ?? 0) + 1);
      const want = new Float64Array(columns.length);
      const noise = new Float64Array(columns.length);
      columns.forEach((id, at) => {
        let s = logits[id]!;
        let size = 0;
        if (seen.has(id) && s !== 0) {
          s = s > 0 || divideNegative ? s / repetition : s * repetition;
          size = Math.abs(s);
        }
        const n = times.get(id) ?? 0;
        if (n > 0) {
          size += Math.abs(s) + 2 * Math.abs(frequency * n) + Math.abs(presence);
          s -= frequency * n + presence;
        }
        want[at] = s;
        noise[at] = Number.isFinite(size) ? 4 * UNIT * size : 0; // a masked logit stays what it is
      });
      return { want, noise };
    };
  return floatProblem({
    output,
    m: 1,
    n: v,
    cost: { perRow: 1, perElement: 1 },
    right: penalized({ repeated: [prompt, said], counted: [said] }),
    candidates: [
      { id: 'penalty-ignores-prompt', predict: penalized({ repeated: [said], counted: [said] }) },
      { id: 'penalty-ignores-output', predict: penalized({ repeated: [prompt], counted: [] }) },
      {
        id: 'penalty-ignores-output',
        reading: 'Only by the repetition penalty',
        predict: penalized({ repeated: [prompt], counted: [said] }),
      },
      { id: 'penalty-sign', predict: penalized({ repeated: [prompt, said], counted: [said], divideNegative: true }) },
      { id: 'penalty-counts-prompt', predict: penalized({ repeated: [prompt, said], counted: [prompt, said] }) },
    ],
  });
}
