import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The built command line, or undefined when there is none. */
export function builtCli(): string | undefined {
  let dir = dirname(realpathSync(fileURLToPath(import.meta.url)));
  while (!existsSync(join(dir, 'package.json'))) {
    if (dir === dirname(dir)) return undefined;
    dir = dirname(dir);
  }
  const main = join(dir, 'dist', 'main.js');
  return existsSync(main) ? main : undefined;
}
