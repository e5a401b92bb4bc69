/** `npm run docs`: the API reference, from the docstrings of every public package, as offline HTML in docs/api (not committed). */
import { join } from 'node:path';
import { mustRun, ROOT } from './lib/run.mjs';
import { ensureInstalled } from './lib/setup.mjs';
import { publicPackages } from './release/workspace.mjs';

ensureInstalled();
const entries = publicPackages()
  .filter(({ folder }) => folder !== 'tiny')
  .map(({ dir }) => join(dir, 'src', 'index.ts'));
const check = process.argv.includes('--check');
mustRun(process.execPath, [
  join(ROOT, 'node_modules', 'typedoc', 'bin', 'typedoc'),
  ...['--name', 'megamoe', '--readme', 'none', '--tsconfig', join(ROOT, 'tsconfig.docs.json'), '--skipErrorChecking'],
  ...['--excludeInternal', '--disableSources', '--logLevel', 'Warn', '--githubPages', 'false'],
  ...['--validation.invalidPath', 'false'], // a shape before a colon, as in `x` [M, D]: ..., is no Markdown link
  ...(check ? ['--emit', 'none', '--treatWarningsAsErrors'] : ['--out', join(ROOT, 'docs', 'api')]),
  ...entries,
]);
