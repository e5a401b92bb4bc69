/** The snippets of an installed README, type-checked as a strict TypeScript project would and run: they must print what they say. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../lib/run.mjs';

const TSC = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
const STRICT = {
  target: 'ES2022',
  lib: ['ES2023'],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  skipLibCheck: false, // our declarations are what is checked
  typeRoots: [join(ROOT, 'node_modules', '@types')],
  types: ['node'],
};
const RESOLUTIONS = {
  nodenext: { module: 'NodeNext', moduleResolution: 'NodeNext', outDir: 'out', rootDir: '.' },
  bundler: { module: 'ESNext', moduleResolution: 'Bundler', noEmit: true },
};

/** TypeScript snippets of a README, in order. */
export function snippetsOf(readme) {
  return [...readFileSync(readme, 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map((m) => m[1]);
}

/** Packages that a snippet imports. */
export function importsOf(code) {
  return [...code.matchAll(/from '((?:@megamoe\/)?[\w-]+)'/g)].map((m) => m[1]).filter((name) => /megamoe/.test(name));
}

/** Type-checks `codes` in the project `dir` and compiles them to `dir/out`. */
export function compileSnippets(dir, codes) {
  const src = join(dir, 'snippets');
  rmSync(src, { recursive: true, force: true });
  mkdirSync(src);
  codes.forEach((code, i) => writeFileSync(join(src, `snippet-${i}.ts`), code));
  for (const [name, options] of Object.entries(RESOLUTIONS)) {
    const config = join(dir, `tsconfig.${name}.json`);
    writeFileSync(config, JSON.stringify({ compilerOptions: { ...STRICT, ...options }, include: ['snippets'] }));
    const done = spawnSync(process.execPath, [TSC, '-p', config], { cwd: dir, encoding: 'utf8', timeout: 180_000 });
    if (done.status !== 0) throw new Error(`${dir}: types do not hold with ${name}:\n${done.stdout}${done.stderr}`);
  }
}

/** Runs what {@link compileSnippets} made of `codes`, by `node(args)`, which returns `{ stdout }`. */
export function runCompiled(node, dir, codes) {
  codes.forEach((code, i) => {
    const { stdout } = node([join('out', 'snippets', `snippet-${i}.js`)]);
    const wanted = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)/g)].map((m) => m[1].split(':')[0].trim());
    const printed = stdout.trimEnd().split('\n').slice(0, wanted.length);
    if (JSON.stringify(printed) !== JSON.stringify(wanted))
      throw new Error(
        `${dir}: snippet ${i} printed ${JSON.stringify(printed)}, its comments say ${JSON.stringify(wanted)}`,
      );
  });
}

/** Checks and runs `codes` in the project `dir`; returns how many there were. */
export function runSnippets(user, dir, codes) {
  compileSnippets(dir, codes);
  runCompiled((args) => user.run(dir, 'node', args), dir, codes);
  return codes.length;
}
