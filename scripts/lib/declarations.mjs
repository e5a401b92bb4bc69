import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, posix, relative } from 'node:path';
import ts from 'typescript';
import { mustRun, ROOT } from './run.mjs';

/** TypeScript 7 checks and declares, in a fifth of the time of 5.9, which stays for tools that use its API. */
const TSC = join(ROOT, 'node_modules', 'typescript7', 'bin', 'tsc');

/**
 * Writes the declarations of packages into their `dist`: what can be reached from `index.d.ts`. One program for all of them, so that a source is
 * read and checked once; TypeScript asks for the names of files in imports, which sources leave out, to be added.
 */
export function declarePackages(dirs) {
  mkdirSync(join(ROOT, '.tmp'), { recursive: true });
  const temporary = mkdtempSync(join(ROOT, '.tmp', 'declarations-'));
  try {
    const compilerOptions = {
      noEmit: false,
      emitDeclarationOnly: true,
      sourceMap: false,
      rootDir: ROOT,
      outDir: 'out',
    };
    const include = dirs.map((dir) => join(dir, 'src')); // not only the index: what is first met through node_modules is not written
    const config = join(temporary, 'tsconfig.json');
    writeFileSync(config, JSON.stringify({ extends: '../../tsconfig.base.json', compilerOptions, include }));
    mustRun(process.execPath, [TSC, '-p', config]);
    for (const dir of dirs) {
      const dist = join(dir, 'dist');
      removeDeclarations(dist);
      for (const [name, text] of reachable(join(temporary, 'out', relative(ROOT, dir), 'src'))) {
        mkdirSync(dirname(join(dist, name)), { recursive: true });
        writeFileSync(join(dist, name), text);
      }
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Declarations that `index.d.ts` of a folder needs, as `[name, text]`, relative imports with the names of JavaScript files. */
function reachable(folder) {
  const found = new Map();
  const queue = ['index'];
  for (const module of queue) {
    let text = readFileSync(join(folder, `${module}.d.ts`), 'utf8');
    for (const { fileName } of ts.preProcessFile(text, true, true).importedFiles) {
      if (!fileName.startsWith('.')) continue;
      const path = posix.join(posix.dirname(module), fileName).replace(/\/$/, '');
      const target = [path, posix.join(path, 'index')].find((p) => existsSync(join(folder, `${p}.d.ts`)));
      if (target === undefined) throw new Error(`${folder}/${module}.d.ts: there is no declaration for ${fileName}`);
      const from = posix.relative(posix.dirname(module), target);
      const specifier = from.startsWith('.') ? `${from}.js` : `./${from}.js`;
      text = text.replaceAll(`'${fileName}'`, `'${specifier}'`).replaceAll(`"${fileName}"`, `"${specifier}"`);
      if (!queue.includes(target)) queue.push(target);
    }
    found.set(`${module}.d.ts`, text);
  }
  return found;
}

function removeDeclarations(dist) {
  mkdirSync(dist, { recursive: true });
  for (const name of readdirSync(dist, { recursive: true })) if (name.endsWith('.d.ts')) rmSync(join(dist, name));
  for (const entry of readdirSync(dist, { withFileTypes: true }))
    if (entry.isDirectory()) rmSync(join(dist, entry.name), { recursive: true });
}
