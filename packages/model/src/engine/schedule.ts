/** A sequence as the scheduler sees it. */
export interface Candidate {
  readonly id: number;
  /** Lower goes first. */
  readonly priority: number;
  /** Order of arrival; one that was put back keeps its own. */
  readonly arrival: number;
  /** Tokens to be taken in before the next one can be sampled; 1 while it decodes. */
  readonly pending: number;
  /** Whether it decodes: its prompt is in. */
  readonly decoding: boolean;
  /** Most tokens of it that one step may take in. */
  readonly mostRows: number;
  /** Places among the running that it takes: of a prompt with n answers, n. */
  readonly width: number;
  /** Of one that runs: nobody has asked for its next token; it keeps its place and takes no part. */
  readonly paused: boolean;
  /** Of one that runs: number of the last step that it took part in. */
  readonly lastStep: number;
  /** Bytes of pages that its next `n` tokens take. */
  readonly bytesFor: (n: number) => number;
  /** Of one that runs: bytes that come free when it is put back. */
  readonly heldBytes: number;
}

/** How things stand before a step. */
export interface ScheduleInput {
  readonly waiting: readonly Candidate[];
  readonly running: readonly Candidate[];
  /** Most sequences that run. */
  readonly maxSequences: number;
  /** Most rows of a step. */
  readonly maxRows: number;
  /** Most rows of prompts in a step with decodes: what they may be held up by. */
  readonly promptRows: number;
  /** Bytes of pages that can still be taken. */
  readonly freeBytes: number;
}

/** What to do next. */
export interface Schedule {
  /** To be put back, first of all; they wait again. */
  readonly preempt: readonly number[];
  /** To run from now on. */
  readonly admit: readonly number[];
  /** Rows of the step: so many tokens of each. Decodes come first. */
  readonly rows: readonly { readonly id: number; readonly n: number }[];
  /** Whether somebody was put back or left waiting for want of memory. */
  readonly short: boolean;
}

/** Tokens of each decoding sequence that memory is kept for when others are let in: less, and they would be put back again at once. */
const DECODES_AHEAD = 64;

/** Who goes first: by priority, then by arrival. */
const inOrder = (a: Candidate, b: Candidate): number => a.priority - b.priority || a.arrival - b.arrival;

const sum = (items: readonly Candidate[], f: (c: Candidate) => number): number => items.reduce((s, c) => s + f(c), 0);

/**
 * Decides what the next step does. A pure function: it looks at nothing else and changes nothing.
 *
 * - Every sequence that decodes takes part in every step; when they are more than a step has rows, those that waited longest do.
 * - Prompts fill what is left, at most `promptRows` beside decodes: half of it for the oldest, so that none starves; the other half for those that
 *   are nearest to their first token, so that short ones do not wait for long ones.
 * - Who waits is let in, in order, while there is a place, and memory for its whole prompt besides what the running prompts still need. None
 *   overtakes one that does not fit. A more important one puts back running ones of lower priority.
 * - When decodes run out of memory, the last in order is put back. One sequence always goes on.
 */
export function schedule(input: ScheduleInput): Schedule {
  const { running, maxRows } = input;
  let free = input.freeBytes;
  let short = false;
  const back = new Set<number>();
  const served = new Set<number>();
  const rows: { id: number; n: number }[] = [];
  const victims = [...running].sort(inOrder); // the last goes first
  const stays = (c: Candidate): boolean => !back.has(c.id);
  const putBack = (v: Candidate): void => {
    back.add(v.id);
    free += v.heldBytes;
  };

  // Whom to let in. What those that run will need soon is spoken for.
  const soon = (c: Candidate): number => c.bytesFor(c.decoding ? DECODES_AHEAD : c.pending);
  let spare = free - sum(running, soon);
  let places = input.maxSequences - sum(running, (c) => c.width);
  const admit: Candidate[] = [];
  for (const w of [...input.waiting].sort(inOrder)) {
    const need = w.bytesFor(w.pending);
    const lower = victims.filter((v) => stays(v) && v.priority > w.priority).reverse();
    const gives = (v: Candidate): number => v.heldBytes + soon(v);
    const hasPlace = places + sum(lower, (v) => v.width) >= w.width;
    const hasMemory = spare + sum(lower, gives) >= need;
    if (!hasPlace || !hasMemory) {
      short ||= hasPlace;
      if (admit.length > 0 || back.size < running.length) break; // else nothing goes on: let it in whatever the limits say
    }
    for (const v of lower) {
      if (places >= w.width && spare >= need) break;
      spare += gives(v);
      places += v.width;
      putBack(v);
    }
    places -= w.width;
    spare -= need;
    admit.push(w);
  }

  /** Makes room by putting back the last in order that have no rows yet, down to `c` itself unless nobody else goes on. */
  const hasRoom = (c: Candidate, need: number): boolean => {
    while (need > free) {
      const victim = victims.findLast((v) => stays(v) && !served.has(v.id) && inOrder(v, c) >= 0);
      if (victim === undefined || (victim === c && rows.length === 0)) return rows.length === 0;
      short = true;
      putBack(victim);
      if (victim === c) return false;
    }
    return true;
  };
  const take = (c: Candidate, n: number): void => {
    free -= c.bytesFor(n);
    served.add(c.id);
    rows.push({ id: c.id, n });
  };

  const isNew = new Set(admit); // their memory is spoken for
  const next = [...running.filter((c) => !c.paused && stays(c)), ...admit];
  const decodes = next
    .filter((c) => c.decoding) // one that was put back and goes on is among them
    .sort((a, b) => a.lastStep - b.lastStep || inOrder(a, b))
    .slice(0, maxRows)
    .sort(inOrder);
  for (const c of decodes) if (stays(c) && (isNew.has(c) || hasRoom(c, c.bytesFor(1)))) take(c, 1);

  const budget = Math.min(maxRows - rows.length, rows.length > 0 ? input.promptRows : maxRows);
  const prompts = next.filter((c) => !c.decoding && stays(c)).sort(inOrder);
  const given = sharePromptRows(prompts, budget);
  for (const c of prompts) {
    const n = given.get(c.id) ?? 0;
    if (n > 0 && stays(c) && (isNew.has(c) || hasRoom(c, c.bytesFor(n)))) take(c, n);
  }
  return { preempt: [...back], admit: admit.map((c) => c.id), rows, short };
}

/** Rows of each prompt, in order: half for the oldest, half by nearness to the end, what is left over for the oldest again. */
function sharePromptRows(prompts: readonly Candidate[], budget: number): Map<number, number> {
  const given = new Map<number, number>();
  let left = budget;
  const give = (c: Candidate, most: number): void => {
    const had = given.get(c.id) ?? 0;
    const n = Math.min(most, left, Math.min(c.pending, c.mostRows) - had);
    if (n <= 0) return;
    given.set(c.id, had + n);
    left -= n;
  };
  const [oldest] = prompts;
  if (oldest === undefined) return given;
  give(oldest, Math.ceil(budget / 2));
  for (const c of prompts.slice(1).sort((a, b) => a.pending - b.pending || inOrder(a, b))) give(c, left);
  give(oldest, left);
  return given;
}
