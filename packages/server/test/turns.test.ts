import { expect, it } from 'vitest';
import { Turns } from '../src/http/turns';

it('between any two of many that come at once the event loop goes on, and they keep their order', async () => {
  let loops = 0;
  let isOn = true;
  const count = (): void => {
    loops++;
    if (isOn) setTimeout(count, 0);
  };
  count();
  const turns = new Turns();
  const seen: { i: number; loops: number }[] = [];
  const one = async (i: number): Promise<void> => {
    await turns.next();
    for (const until = performance.now() + 3; performance.now() < until;); // as long as a timer takes to be due
    seen.push({ i, loops });
  };
  await Promise.all(Array.from({ length: 9 }, (_, i) => one(i)));
  isOn = false;
  expect(seen.map(({ i }) => i)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  for (let i = 1; i < seen.length; i++) expect(seen[i]!.loops).toBeGreaterThan(seen[i - 1]!.loops);
});
