/** `npm test`: sets up what is missing, runs every package's tests, and prints the total as the last line. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { testedFolders, testPackages } from './lib/package-tests.mjs';
import { ROOT } from './lib/run.mjs';
import { checkNode, ensureBuilt, ensureInstalled } from './lib/setup.mjs';

checkNode();
ensureInstalled();
ensureBuilt();
rmSync(join(ROOT, 'test-results'), { recursive: true, force: true });
process.exit(await testPackages(testedFolders()));
