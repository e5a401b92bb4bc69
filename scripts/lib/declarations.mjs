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
  for (const dir of dirs) {
    const dist = join(dir, 'dist');
    removeDeclarations(dist);
    for (const [name, text] of reachable(join(dir, 'src').replaceAll('\\', '/'), program)) {
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

/** Declarations that the `index.ts` of the folder `source` needs, as `[name, text]`, relative imports with the names of JavaScript files. */
function reachable(source, program) {
  const found = new Map();
  const queue = ['index'];
  for (const module of queue) {
    let text = declared(`${source}/${module}.ts`, program);
    for (const { fileName } of ts.preProcessFile(text, true, true).importedFiles) {
      if (!fileName.startsWith('.')) continue;
      const path = posix.join(posix.dirname(module), fileName).replace(/\/$/, '');
      const target = [path, posix.join(path, 'index')].find((p) => program.getSourceFile(`${source}/${p}.ts`));
      if (target === undefined) throw new Error(`${source}/${module}.ts: there is no source for ${fileName}`);
      const relative = posix.relative(posix.dirname(module), target);
      const specifier = relative.startsWith('.') ? `${relative}.js` : `./${relative}.js`;
      text = text.replaceAll(`'${fileName}'`, `'${specifier}'`).replaceAll(`"${fileName}"`, `"${specifier}"`);
      if (!queue.includes(target)) queue.push(target);
    }
    found.set(`${module}.d.ts`, text);
  }
  return found;
}

/** The declarations of one source. */
function declared(file, program) {
  let declarations;
  const { diagnostics } = program.emit(program.getSourceFile(file), (name, text) => (declarations = text));
  if (diagnostics.length > 0) throw new Error(ts.formatDiagnostics(diagnostics, FORMAT));
  return declarations;
}

function removeDeclarations(dist) {
  mkdirSync(dist, { recursive: true });
  for (const name of readdirSync(dist, { recursive: true })) if (name.endsWith('.d.ts')) rmSync(join(dist, name));
  for (const entry of readdirSync(dist, { withFileTypes: true }))
    if (entry.isDirectory()) rmSync(join(dist, entry.name), { recursive: true });
}
