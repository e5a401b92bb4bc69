import { repositoryFile } from '@megamoe/testkit';
import { execFile } from 'node:child_process';

/** Root of the repository. */
export const ROOT = repositoryFile('.');

/** Runs a Node program of the repository beside others. */
export function run(
  args: readonly string[],
  { input = '', cwd = ROOT }: { input?: string; cwd?: string } = {},
): Promise<{ code: number; stdout: string; output: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, { cwd, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? 1 : 0, stdout, output: `${stdout}${stderr}` });
    });
    child.stdin?.end(input);
  });
}
