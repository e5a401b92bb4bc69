/** `npm run -s megamoe -- ARGS`: the built command line, from the folder that npm was called in. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './lib/run.mjs';

const main = join(ROOT, 'packages', 'cli', 'dist', 'main.js');
if (!existsSync(main)) {
  process.stderr.write('megamoe: not built yet; run "npm start" once\n');
  process.exit(1);
}
const cwd = process.env.INIT_CWD ?? process.cwd();
const done = spawnSync(process.execPath, [main, ...process.argv.slice(2)], { stdio: 'inherit', cwd });
process.exit(done.status ?? 130);
