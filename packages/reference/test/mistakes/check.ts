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
