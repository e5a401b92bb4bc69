/** `npm run -s megamoe -- ARGS`: the built command line, from the folder that npm was called in. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { runBuilt } from './lib/built.mjs';
import { ROOT } from './lib/run.mjs';

if (!existsSync(join(ROOT, 'packages', 'cli', 'dist', 'main.js'))) {
  process.stderr.write('megamoe: not built yet; run "npm start" once\n');
  process.exit(1);
}
process.chdir(process.env.INIT_CWD ?? process.cwd());
await runBuilt(process.argv.slice(2));
