/**
 * `node scripts/rehearse/require.mjs '{ "NAME": "FILE", ... }'`: requires every package NAME as CommonJS in FILE would, and compares with what
 * `import` gives. Prints JSON: for each NAME `as import`, the names that only one of them has, or the code of the error.
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const found = {};
for (const [name, file] of Object.entries(JSON.parse(process.argv[2]))) {
  const require = createRequire(file);
  try {
    const required = new Set(Object.keys(require(name)));
    const imported = new Set(Object.keys(await import(pathToFileURL(require.resolve(name)))));
    const others = [...required, ...imported].filter((key) => !(required.has(key) && imported.has(key)));
    found[name] = imported.size > 0 && others.length === 0 ? 'as import' : `not in both: ${others.join(', ')}`;
  } catch (error) {
    found[name] = error.code ?? String(error);
  }
}
process.stdout.write(`${JSON.stringify(found)}\n`);
