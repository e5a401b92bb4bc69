/**
 * `node scripts/build.mjs [--js] [--types] [FOLDER ...]`: builds packages, all by default, whatever their state: their JavaScript, their
 * declarations, or both. `npm start` and `npm test` build what is stale.
 */
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT } from './lib/run.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { js: { type: 'boolean' }, types: { type: 'boolean' } },
});
const dirs =
  positionals.length > 0
    ? positionals.map((folder) => resolve(folder))
    : readdirSync(join(ROOT, 'packages')).map((name) => join(ROOT, 'packages', name));
const { js = !values.types, types = !values.js } = values;
if (js) {
  const { bundlePackage } = await import('./lib/bundle.mjs');
  for (const dir of dirs) await bundlePackage(dir);
}
if (types) {
  const { declarePackages } = await import('./lib/declarations.mjs');
  declarePackages(dirs);
}
