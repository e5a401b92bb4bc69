import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import ts from 'typescript';
import { ROOT } from './run.mjs';

/**
 * Writes the declarations of packages into their `dist`: what can be reached from `index.d.ts`. One program for all of them, so that a source is
 * read and checked once; TypeScript asks for the names of files in imports, which sources leave out, to be added.
 */
export function declarePackages(dirs) {
  const base = ts.readConfigFile(join(ROOT, 'tsconfig.base.json'), ts.sys.readFile).config;
  const { options } = ts.parseJsonConfigFileContent({ ...base, files: [] }, ts.sys, ROOT);
  const program = ts.createProgram(
    dirs.map((dir) => join(dir, 'src', 'index.ts')),
    { ...options, noEmit: false, emitDeclarationOnly: true, sourceMap: false },
  );
  const texts = new Map();
  const { diagnostics } = program.emit(undefined, (file, text) => texts.set(file.replaceAll('\\', '/'), text));
  if (diagnostics.length > 0) throw new Error(ts.formatDiagnostics(diagnostics, FORMAT));
  for (const dir of dirs) {
    const dist = join(dir, 'dist');
    removeDeclarations(dist);
    const source = join(dir, 'src').replaceAll('\\', '/');
    for (const [name, text] of reachable(source, texts)) {
      mkdirSync(dirname(join(dist, name)), { recursive: true });
      writeFileSync(join(dist, name), text);
    }
  }
}

const FORMAT = {
  getCanonicalFileName: (name) => name,
  getCurrentDirectory: () => ROOT,
  getNewLine: () => '\n',
};

/** Declarations that `index.d.ts` in the folder `source` needs, as `[name, text]`, relative imports with the names of JavaScript files. */
function reachable(source, texts) {
  const found = new Map();
  const queue = ['index.d.ts'];
  for (const name of queue) {
    let text = texts.get(`${source}/${name}`);
    if (text === undefined) throw new Error(`${source}: there is no ${name}`);
    const imports = ts.preProcessFile(text, true, true).importedFiles.sort((a, b) => b.pos - a.pos);
    for (const { fileName } of imports) {
      if (!fileName.startsWith('.')) continue;
      const path = posix.join(posix.dirname(name), fileName).replace(/\/$/, '');
      const target = [path, posix.join(path, 'index')].find((p) => texts.has(`${source}/${p}.d.ts`));
      if (target === undefined) throw new Error(`${source}/${name}: nothing is declared for ${fileName}`);
      const relative = posix.relative(posix.dirname(name), target);
      const specifier = relative.startsWith('.') ? `${relative}.js` : `./${relative}.js`;
      text = text.replaceAll(`'${fileName}'`, `'${specifier}'`).replaceAll(`"${fileName}"`, `"${specifier}"`);
      if (!queue.includes(`${target}.d.ts`)) queue.push(`${target}.d.ts`);
    }
    found.set(name, text);
  }
  return found;
}

function removeDeclarations(dist) {
  mkdirSync(dist, { recursive: true });
  for (const name of readdirSync(dist, { recursive: true })) if (name.endsWith('.d.ts')) rmSync(join(dist, name));
  for (const entry of readdirSync(dist, { withFileTypes: true }))
    if (entry.isDirectory()) rmSync(join(dist, entry.name), { recursive: true });
}
