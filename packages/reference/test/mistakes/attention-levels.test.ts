/** Kernels that round on their way: right at their level, and their mistakes named there. */
import { describe, expect, it } from 'vitest';
import { explainDump, type Dump } from '../../src/index';
import { attentionDump, PLANTS, type Case, type Plant, type Rounds } from './attention-planted';
import type { Stored } from './build';
import { expectAgrees, expectFirst } from './check';

const CASES: Case[] = [
  { s: 21, heads: 3, d: 12, ratio: 4, window: 6, c: 5, ropeDim: 8, seed: 1 },
  { s: 30, heads: 2, d: 16, ratio: 4, window: 4, c: 7, ropeDim: 16, selected: true, seed: 2 },
  { s: 40, heads: 2, d: 10, ratio: 0, window: 9, c: 0, ropeDim: 6, seed: 4 },
];

/** Ways of kernels to round, by the name of the level. */
const ROUNDS: [string, Omit<Rounds, 'to'>][] = [
  ['p', { p: 'normalised' }],
  ['p-before', { p: 'before' }],
  ['p-before-sink', { p: 'before-sink' }],
  ['p-summed', { p: 'summed' }],
  ['p-summed-sink', { p: 'summed-sink' }],
  ['o', { o: true }],
  ['qkv', { qkv: true }],
  ['p+o', { p: 'normalised', o: true }],
  ['p-before+qkv', { p: 'before', qkv: true }],
  ['p-summed-sink+o+qkv', { p: 'summed-sink', o: true, qkv: true }],
];

const out = (d: Dump): Buffer => Buffer.from(d.tensors.get('out')!.bytes);
const DTYPES = [
  ['bf16', 'BF16'],
  ['fp16', 'F16'],
] as const;

describe('attention that rounds on its way', () => {
  for (const c of CASES) {
    const name = JSON.stringify(c);
    it.each(ROUNDS)(`%s agrees: ${name}`, (id, how) => {
      for (const [said, to] of DTYPES) {
        expectAgrees(attentionDump(c, undefined, 'F32', 'float32', { ...how, to }), `${said}:${id}`);
        for (const stored of ['BF16', 'F16'] as Stored[])
          expectAgrees(attentionDump(c, undefined, stored, 'float32', { ...how, to }));
      }
    });
    const plants = [...PLANTS, [c.ratio ? 'yarn-missing' : 'yarn-on-window-layer', 'other-yarn'] as [string, Plant]];
    it.each(plants)(`%s: ${name}`, (id, plant) => {
      ROUNDS.forEach(([level, how], at) => {
        if (plant === 'by-key' && how.o) return; // turned before it is summed: there is no output before its rotation
        const [said, to] = DTYPES[at % 2]!;
        const rounds: Rounds = { ...how, to };
        const d = attentionDump(c, plant, 'F32', 'float32', rounds);
        if (out(d).equals(out(attentionDump(c, undefined, 'F32', 'float32', rounds)))) return;
        const e = expectFirst(d, id);
        if (plant === 'no-back' && how.o) return; // nothing follows: rounded before it is turned or before it is stored
        const name = (level: string): string => level.replace('-sink', ''); // one that is missing, or small, is in no maximum
        expect(name(e.level)).toBe(name(`${said}:${level}`));
      });
      for (const stored of ['BF16', 'F16'] as Stored[]) {
        const rounds: Rounds = { to: stored as 'BF16', p: 'before', o: true };
        const d = attentionDump(c, plant, stored, 'float32', rounds);
        if (out(d).equals(out(attentionDump(c, undefined, stored, 'float32', rounds)))) continue;
        expectFirst(d, id);
      }
    });
  }

  it('says where the kernel rounds, and how much it matters', () => {
    const e = explainDump(attentionDump(CASES[0]!, undefined, 'F32', 'float32', { to: 'BF16', p: 'before' }));
    expect(e.levelText).toBe('with P before normalisation rounded to BF16');
    expect(e.right).toMatchObject({ outside: 0, compared: 756, elements: 756 });
    expect(e.notes.join()).toMatch(/Without that rounding \d+ of 756 elements would differ/);
    const m = expectFirst(
      attentionDump(CASES[0]!, 'no-sink', 'F32', 'float32', { to: 'BF16', p: 'before' }),
      'attention-sink-missing',
    );
    expect(m.mistakes[0]!.evidence).toMatch(/within rounding, with P before normalisation rounded to BF16/);
  });

  it('sees that a float32 tensor was BF16 before', () => {
    const narrow = (plant?: Plant, how: Omit<Rounds, 'to'> = {}): Dump => {
      const d = attentionDump(CASES[0]!, plant, 'BF16', 'float32', { to: 'BF16', ...how });
      const bits = new Uint16Array(d.tensors.get('out')!.bytes.slice().buffer);
      const wide = new Uint8Array(Uint32Array.from(bits, (b) => (b << 16) >>> 0).buffer);
      return { ...d, tensors: new Map(d.tensors).set('out', { ...d.tensors.get('out')!, dtype: 'F32', bytes: wide }) };
    };
    expectAgrees(narrow(), 'bf16:out');
    expectAgrees(narrow(undefined, { o: true }), 'bf16:o+out');
    expect(expectFirst(narrow('short'), 'attention-window-short').level).toBe('bf16:out');
  });

  it('takes an online softmax for right, and names mistakes in it', () => {
    for (const c of CASES)
      for (const [said, to] of DTYPES) {
        const rounds: Rounds = { to, p: 'before', tile: 3, o: true };
        expectAgrees(attentionDump(c, undefined, 'F32', 'float32', rounds), `${said}:somewhere`);
        for (const [id, plant] of PLANTS) {
          if (plant === 'by-key') continue;
          const d = attentionDump(c, plant, 'F32', 'float32', rounds);
          if (!out(d).equals(out(attentionDump(c, undefined, 'F32', 'float32', rounds)))) expectFirst(d, id);
        }
      }
  });

  it('tells a window of 200 from one of 199', () => {
    const c: Case = { s: 240, heads: 1, d: 16, ratio: 0, window: 200, c: 0, ropeDim: 8, seed: 8 };
    for (const tile of [0, 64])
      for (const stored of ['F32', 'BF16'] as const) {
        const rounds: Rounds = { to: 'BF16', p: 'before', o: true, tile };
        expectAgrees(attentionDump(c, undefined, stored, 'float32', rounds));
        expectFirst(attentionDump(c, 'short', stored, 'float32', rounds), 'attention-window-short');
        expectFirst(attentionDump(c, 'long', stored, 'float32', rounds), 'attention-window-long');
      }
  });
});
