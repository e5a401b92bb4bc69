import { seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { Pace } from '../src/engine/pace';
import { schedule, type Candidate, type Schedule, type ScheduleInput } from '../src/engine/schedule';

let ids = 0;
/** A candidate of which each token takes 10 bytes. */
const candidate = (o: Partial<Candidate> = {}): Candidate => {
  const id = o.id ?? ++ids;
  return {
    id,
    priority: 0,
    arrival: id,
    pending: 1,
    decoding: true,
    mostRows: Infinity,
    width: 1,
    paused: false,
    lastStep: 0,
    bytesFor: (n) => 10 * n,
    heldBytes: 0,
    ...o,
  };
};
const prompt = (id: number, pending: number, o: Partial<Candidate> = {}): Candidate =>
  candidate({ id, pending, decoding: false, ...o });
const decode = (id: number, o: Partial<Candidate> = {}): Candidate => candidate({ id, ...o });

const plan = (o: Partial<ScheduleInput>): Schedule =>
  schedule({ waiting: [], running: [], maxSequences: 8, maxRows: 100, promptRows: 20, freeBytes: Infinity, ...o });
const rowsOf = ({ rows }: Schedule): string => rows.map(({ id, n }) => `${id}:${n}`).join(' ');

describe('schedule', () => {
  it.each<[string, Partial<ScheduleInput>, string, Partial<Schedule>]>([
    ['nothing to do', {}, '', { admit: [], preempt: [], short: false }],
    ['decodes, all of them', { running: [decode(1), decode(2)] }, '1:1 2:1', {}],
    ['a prompt alone fills the step', { waiting: [prompt(1, 300)] }, '1:100', { admit: [1] }],
    [
      'beside decodes a prompt gets what they may be held up by',
      { running: [decode(1), prompt(2, 300)] },
      '1:1 2:20',
      {},
    ],
    [
      'half for the oldest prompt, half for the nearest to its end',
      { running: [decode(1), prompt(2, 300), prompt(3, 50), prompt(4, 7)] },
      '1:1 2:10 3:3 4:7',
      {},
    ],
    [
      'what nobody else needs is the oldest prompt again',
      { running: [decode(1), prompt(2, 300), prompt(3, 4)] },
      '1:1 2:16 3:4',
      {},
    ],
    [
      'never more of a prompt than it has, or may take',
      { running: [prompt(1, 300, { mostRows: 32 }), prompt(2, 9)] },
      '1:32 2:9',
      {},
    ],
    ['nobody asked: no rows', { running: [decode(1, { paused: true }), decode(2)] }, '2:1', {}],
    [
      'more decodes than rows: who waited longest',
      { maxRows: 2, running: [decode(1, { lastStep: 9 }), decode(2, { lastStep: 7 }), decode(3, { lastStep: 8 })] },
      '2:1 3:1',
      {},
    ],
    [
      'in order of priority, then of arrival',
      { maxSequences: 2, waiting: [prompt(1, 5, { priority: 1 }), prompt(2, 5), prompt(3, 5)] },
      '2:5 3:5',
      { admit: [2, 3] },
    ],
    [
      'no place: it waits, and memory is not short',
      { maxSequences: 1, running: [decode(1)], waiting: [prompt(2, 5)] },
      '1:1',
      { admit: [], short: false },
    ],
    [
      'n answers take n places',
      { maxSequences: 4, running: [decode(1)], waiting: [prompt(2, 5, { width: 4 })] },
      '1:1',
      { admit: [] },
    ],
    [
      'none overtakes one that does not fit',
      { freeBytes: 1000, running: [decode(1)], waiting: [prompt(2, 200), prompt(3, 1)] },
      '1:1',
      { admit: [], short: true },
    ],
    [
      'memory for its whole prompt, besides what the running ones still need',
      { freeBytes: 1000, running: [prompt(1, 60)], waiting: [prompt(2, 41)] },
      '1:60',
      { admit: [], short: true },
    ],
    [
      'a more important one puts back one of lower priority',
      { maxSequences: 1, running: [decode(1, { priority: 5, heldBytes: 10 })], waiting: [prompt(2, 5)] },
      '2:5',
      { preempt: [1], admit: [2] },
    ],
    [
      'an equal one does not',
      { maxSequences: 1, running: [decode(1, { heldBytes: 10 })], waiting: [prompt(2, 5)] },
      '1:1',
      { preempt: [] },
    ],
    [
      'decodes out of memory: the last is put back',
      { freeBytes: 10, running: [decode(1), decode(2), decode(3, { heldBytes: 50 })] },
      '1:1 2:1',
      { preempt: [3], short: true },
    ],
    ['one goes on whatever the limits say', { freeBytes: 0, running: [decode(1)] }, '1:1', { preempt: [] }],
    ['one is let in whatever the limits say', { freeBytes: 0, waiting: [prompt(1, 30)] }, '1:30', { admit: [1] }],
  ])('%s', (_, input, rows, others) => {
    const got = plan(input);
    expect(rowsOf(got)).toBe(rows);
    expect(got).toMatchObject(others);
  });

  it('whatever comes, limits hold, nobody starves, and everything ends', () => {
    for (let seed = 0; seed < 8; seed++) {
      const random = seeded(seed);
      const [maxSequences, maxRows] = [1 + random.int(6), 1 + random.int(40)];
      const promptRows = 1 + random.int(maxRows);
      const memory = 10 * (20 + random.int(400));
      interface Live {
        id: number;
        prompt: number;
        answer: number;
        fed: number;
        priority: number;
        lastStep: number;
      }
      let [step, came] = [0, 0];
      let waiting: Live[] = [];
      let running: Live[] = [];
      const total = 25;
      const pendingOf = (x: Live): number => Math.max(1, x.prompt - x.fed);
      const see = (x: Live, isRunning: boolean): Candidate => ({
        id: x.id,
        arrival: x.id,
        priority: x.priority,
        pending: pendingOf(x),
        decoding: x.fed >= x.prompt,
        mostRows: Infinity,
        width: 1,
        paused: false,
        lastStep: x.lastStep,
        bytesFor: (n) => 10 * (isRunning ? n : x.fed + n),
        heldBytes: isRunning ? 10 * x.fed : 0,
      });
      while (came < total || waiting.length + running.length > 0) {
        expect(++step, `seed ${seed}`).toBeLessThan(20_000);
        while (came < total && (random.int(3) === 0 || waiting.length + running.length === 0)) {
          const id = ++came;
          waiting.push({
            id,
            prompt: 1 + random.int(60),
            answer: 1 + random.int(20),
            fed: 0,
            priority: random.int(3),
            lastStep: 0,
          });
        }
        const held = running.reduce((sum, x) => sum + 10 * x.fed, 0);
        const got = schedule({
          waiting: waiting.map((x) => see(x, false)),
          running: running.map((x) => see(x, true)),
          maxSequences,
          maxRows,
          promptRows,
          freeBytes: memory - held,
        });
        const back = running.filter((x) => got.preempt.includes(x.id));
        const admitted = got.admit.map((id) => waiting.find((x) => x.id === id)!);
        running = [...running.filter((x) => !back.includes(x)), ...admitted];
        waiting = [...waiting.filter((x) => !admitted.includes(x)), ...back];
        expect(running.length).toBeLessThanOrEqual(maxSequences);
        expect(got.rows.length).toBeGreaterThan(0); // something always goes on
        expect(new Set(got.rows.map((r) => r.id)).size).toBe(got.rows.length);
        expect(got.rows.reduce((sum, { n }) => sum + n, 0)).toBeLessThanOrEqual(maxRows);
        let promptSum = 0;
        let decodes = 0;
        for (const { id, n } of got.rows) {
          const x = running.find((y) => y.id === id)!;
          expect(n).toBeGreaterThan(0);
          expect(n).toBeLessThanOrEqual(pendingOf(x));
          if (x.fed >= x.prompt) decodes++;
          else promptSum += n;
          x.fed += n;
          x.lastStep = step;
        }
        if (decodes > 0) expect(promptSum).toBeLessThanOrEqual(promptRows);
        if (running.length > 1) expect(running.reduce((sum, x) => sum + 10 * x.fed, 0)).toBeLessThanOrEqual(memory);
        running = running.filter((x) => x.fed < x.prompt + x.answer);
      }
    }
  });
});

describe('Pace', () => {
  it('sizes chunks by what they cost, at most the limit, however slow or fast', () => {
    for (const rowMs of [0.01, 0.5, 3, 40, 500]) {
      const pace = new Pace(100, 256);
      let worst = 0;
      for (let step = 0; step < 60; step++) {
        const n = pace.promptRows;
        if (step > 0) worst = Math.max(worst, n * rowMs);
        pace.note(n, 8, 5 + n * rowMs);
        pace.note(0, 8, 5);
      }
      expect(worst).toBeLessThanOrEqual(Math.max(110, rowMs));
      const best = Math.max(1, Math.min(256, Math.floor(100 / rowMs)));
      expect(pace.promptRows).toBeGreaterThanOrEqual(Math.max(1, Math.floor(0.8 * best)));
    }
  });
  it('gives way at once when rows become slower', () => {
    const pace = new Pace(100, 256);
    for (let i = 0; i < 20; i++) pace.note(pace.promptRows, 1, pace.promptRows);
    expect(pace.promptRows).toBeGreaterThan(80);
    pace.note(50, 1, 500);
    expect(pace.promptRows).toBeLessThanOrEqual(10);
  });
});
