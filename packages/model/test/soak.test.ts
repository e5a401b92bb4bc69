import { repositoryFile } from '@megamoe/testkit';
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { BACKENDS } from './support';

/** In a process of its own: the test runner keeps what tests have touched, and a collection must see every model that was dropped. */
it.each(BACKENDS)('memory and files stay flat over loads, generations, aborts and disposals on %s', (backend) => {
  const script = repositoryFile('scripts/residency/soak.mjs');
  const said = execFileSync(process.execPath, ['--expose-gc', script, '--rounds', '20', '--backend', backend], {
    encoding: 'utf8',
  });
  const last = /over the second half: resident +(-?[\d.]+) MB, external +(-?[\d.]+) MB, files (-?\d+)/.exec(said);
  expect(Number(last?.[2])).toBeLessThanOrEqual(1); // one leaked model is 12 MB, one leaked layer half of one
  expect(Number(last?.[3])).toBeLessThanOrEqual(0);
});
