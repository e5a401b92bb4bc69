import { repositoryFile } from '@megamoe/testkit';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { BACKENDS } from './support';

/**
 * In processes of their own, which are waited for together: the test runner keeps what tests have touched, and a collection must see every
 * model that was dropped.
 */
describe.concurrent('memory and files stay flat over loads, generations, aborts and disposals', () => {
  it.each(BACKENDS)('on %s', async (backend) => {
    const script = repositoryFile('scripts/residency/soak.mjs');
    const args = ['--expose-gc', '--max-semi-space-size=1', script, '--rounds', '12', '--backend', backend];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const last = /over the second half: resident +(-?[\d.]+) MB, external +(-?[\d.]+) MB, files (-?\d+)/.exec(stdout);
    expect(Number(last?.[2])).toBeLessThanOrEqual(1); // one leaked model is 12 MB, one leaked layer half of one
    expect(Number(last?.[3])).toBeLessThanOrEqual(0);
  });
});
