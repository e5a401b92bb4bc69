import { expect } from 'vitest';
import { explainDump, type Dump, type Explanation } from '../../src/index';

const text = (e: Explanation): string =>
  JSON.stringify({ ...e, nearest: e.nearest.map(({ id, cosine, evidence }) => ({ id, cosine, evidence })) }, null, 1);

/** The right output agrees, at `level` when that is given, and nothing is reported. */
export function expectAgrees(d: Dump, level?: string): void {
  const e = explainDump(d);
  expect(e.agrees, text(e)).toBe(true);
  if (level !== undefined) expect(e.level, text(e)).toBe(level);
  expect(e.mistakes).toEqual([]);
  expect(e.nearest).toEqual([]);
}

/** An output of one number tells nothing, and nothing is made of it. */
export function expectNothingSaid(d: Dump): void {
  const e = explainDump(d);
  expect(e, text(e)).toMatchObject({ agrees: false, level: 'none', mistakes: [], nearest: [] });
  expect(e.constant).toMatch(/^out\b.*: every (element|byte) is /);
  expect(e.notes[0]).toMatch(/^out\b.*\. That proves nothing about what is wrong/);
}

/** Every byte of every output is zero. */
export function isBlank(d: Dump): boolean {
  return [...d.tensors].every(([name, { bytes }]) => !name.startsWith('out') || bytes.every((byte) => byte === 0));
}

/** The planted mistake is the first one named; ids that coincide with it on this input may follow. */
export function expectFirst(d: Dump, id: string, coincide: readonly string[] = []): Explanation {
  const e = explainDump(d);
  expect(e.agrees, text(e)).toBe(false);
  expect(e.mistakes[0]?.id, text(e)).toBe(id);
  expect(
    e.mistakes
      .slice(1)
      .map((m) => m.id)
      .filter((other) => !coincide.includes(other)),
    text(e),
  ).toEqual([]);
  for (const m of e.mistakes) {
    expect(m.cosine).toBeGreaterThan(0.99);
    expect(m.rule.length).toBeGreaterThan(20);
    expect(m.evidence).toMatch(/Reproduces/);
  }
  return e;
}
