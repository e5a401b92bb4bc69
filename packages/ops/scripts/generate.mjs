/**
 * `node packages/ops/scripts/generate.mjs [--check]`: writes src/generated from the list of operations: checks of every argument, the
 * unwrapping of tensors for kernels on the host, and positional calls of native functions. Specialised code, because a loop over the
 * table would cost more than some operations. `--check` writes nothing and fails when a file is not what the list says.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import prettier from 'prettier';
import ts from 'typescript';

const HOME = join(dirname(fileURLToPath(import.meta.url)), '..');
const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };

/** The list, as JavaScript: it is plain data. */
async function loadList() {
  const dir = mkdtempSync(join(tmpdir(), 'megamoe-ops-'));
  try {
    for (const name of ['kinds', 'table']) {
      const text = readFileSync(join(HOME, 'src', `${name}.ts`), 'utf8');
      const code = ts.transpileModule(text, { compilerOptions: options }).outputText;
      writeFileSync(join(dir, `${name}.mjs`), code.replaceAll("'./kinds'", "'./kinds.mjs'"));
    }
    return (await import(pathToFileURL(join(dir, 'table.mjs')).href)).OPS;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const OPS = await loadList();
const HEADER = '// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.\n\n';

/** A formula as code over the arguments `a`. */
const code = (formula) => formula.replace(/[a-zA-Z][\w.]*/g, (name) => `a.${name}`);
const quoted = (text) => JSON.stringify(text);

/** Elements of a tensor argument that are used. */
const used = (name, kind) => (kind.shape === '' ? `a.${name}.length` : code(kind.shape));

const choices = new Map();

/** The constant that holds the words of a choice: a call makes no array. */
function choiceName({ of }) {
  const words = `[${of.map(quoted).join(', ')}] as const`;
  if (!choices.has(words)) choices.set(words, `CHOICE_${choices.size + 1}`);
  return choices.get(words);
}

function scalarCheck(op, name, kind) {
  const at = `${quoted(op)}, ${quoted(name)}, a.${name}`;
  if (kind.kind === 'count') {
    const max = kind.max === undefined ? '' : `, ${code(kind.max)}`;
    const lines = [`checkInteger(${at}, ${kind.min}${max});`];
    if (kind.multipleOf > 1) lines.push(`checkMultiple(${at}, ${kind.multipleOf});`);
    return lines;
  }
  if (kind.kind === 'real') return [kind.positive ? `checkLimit(${at});` : `checkNumber(${at}, ${kind.min});`];
  if (kind.kind === 'flag') return [`checkFlag(${at});`];
  if (kind.kind === 'choice') return [`checkOneOf(${at}, ${choiceName(kind)});`];
  return [`k.handle(${at}, ${quoted(kind.of)});`];
}

function tensorCheck(op, name, kind) {
  const at = `${quoted(op)}, ${quoted(name)}, a.${name}`;
  const size = `${quoted(kind.shape)}, ${kind.shape === '' ? 0 : code(kind.shape)}`;
  const whole = `k.tensor(${at}, ${quoted(kind.dtype)}, ${size});`;
  const held = `if (a.${name}.length < ${code(kind.shape)}) k.tooShort(${at}, ${size});`;
  const lines = kind.shape === '' ? [`if (!held) ${whole}`] : [`if (!held) ${whole}`, `else ${held}`];
  if (kind.below !== undefined)
    lines.push(`k.indices(${at}, ${used(name, kind)}, ${code(kind.min)}, ${rowsOrCode(op, kind.below)});`);
  if (kind.ends !== undefined) lines.push(`k.ends(${at}, ${code(kind.ends)});`);
  return kind.optional ? [`if (a.${name} !== null) {`, ...lines, '}'] : lines;
}

/** What indices must stay below: a number, or the rows of a tensor as long as it came. */
function rowsOrCode(op, below) {
  const whole = /^(\w+)\.length\s*\/\s*(\w+)$/.exec(below);
  return whole === null ? code(below) : `k.rows(${quoted(op)}, ${quoted(whole[1])}, a.${whole[1]}, a.${whole[2]})`;
}

/** No indices in memory that other threads write to; every output apart from every other tensor, index arrays and outputs included. */
function memoryChecks(op, tensors) {
  const placed = new Set();
  const checks = [];
  const check = (name, names, optional) => {
    for (const n of names) placed.add(n);
    const call = `k.${name}(${[quoted(op), ...names].join(', ')});`;
    checks.push(optional.length === 0 ? call : `if (${optional.map((n) => `${n} !== null`).join(' && ')}) ${call}`);
  };
  const nulls = (...pairs) => pairs.filter(([, kind]) => kind.optional).map(([name]) => name);
  for (const [name, kind] of tensors) if (kind.dtype === 'i32') check('unshared', [name], nulls([name, kind]));
  tensors.forEach(([out, kind], i) => {
    if (kind.access === 'reads') return;
    tensors.forEach(([other, otherKind], j) => {
      if (i === j || (otherKind.access !== 'reads' && j < i)) return;
      check(kind.inPlace === other ? 'apartOrSame' : 'apart', [out, other], nulls([other, otherKind]));
    });
  });
  const places = tensors
    .filter(([name]) => placed.has(name))
    .map(([name, kind]) => {
      const place = `k.place(${quoted(name)}, a.${name}, ${used(name, kind)})`;
      return `const ${name} = ${kind.optional ? `a.${name} === null ? null : ${place}` : place};`;
    });
  return [...places, ...checks];
}

const tensorsOf = (args) => Object.entries(args).filter(([, kind]) => kind.kind === 'tensor');
const method = (op, held, lines) => `${op}(a${held ? ', held = false' : ''}) {\n${lines.join('\n')}\n},`;

function valueChecks() {
  const bodies = Object.entries(OPS).map(([op, { args }]) => {
    const all = Object.entries(args);
    const scalars = all.filter(([, kind]) => kind.kind !== 'handle' && kind.kind !== 'tensor');
    return method(op, tensorsOf(args).length > 0, [
      `checkArguments(${quoted(op)}, a);`,
      ...all.filter(([, kind]) => kind.kind === 'handle').flatMap(([name, kind]) => scalarCheck(op, name, kind)),
      ...scalars.flatMap(([name, kind]) => scalarCheck(op, name, kind)),
      ...tensorsOf(args).flatMap(([name, kind]) => tensorCheck(op, name, kind)),
    ]);
  });
  return `${HEADER}import { checkInteger, checkMultiple, checkNumber, checkOneOf } from '@megamoe/core';
import { checkArguments, checkFlag, checkLimit, type KindChecks } from '../kind-checks';
import type { HostArrays } from '../host';
import type { OpName } from '../table';
import type { OpArgs } from '../types';

/**
 * A check of the arguments of each operation. \`held\`: its arrays are those of tensors, which were asked what they are when they were made;
 * only their lengths are looked at.
 */
export type OpChecks = { readonly [N in OpName]: (a: OpArgs<N, HostArrays>, held?: boolean) => void };

${[...choices].map(([words, name]) => `const ${name} = ${words};\n`).join('')}
/**
 * Checks of kinds, shapes and values, with \`k\` for what tensors and handles are on this side. Where memory lies is not looked at: for
 * kernels that compare addresses themselves, which costs less.
 */
export function makeValueChecks(k: KindChecks): OpChecks {
  return {
${bodies.join('\n')}
  };
}
`;
}

function placeChecks() {
  const bodies = Object.entries(OPS).map(([op, { args }]) => {
    const lines = memoryChecks(op, tensorsOf(args));
    return lines.length === 0 ? `${op}() {\n// nothing in reach\n},` : method(op, false, lines);
  });
  const both = Object.keys(OPS).map((op) => method(op, true, [`kinds.${op}(a, held);`, `memory.${op}(a);`]));
  return `${HEADER}import type { KindChecks } from '../kind-checks';
import { makeValueChecks, type OpChecks } from './value-checks';

/** Checks of where memory lies, for arguments that passed the others: outputs are apart, indices in memory of this thread. */
export function makeMemoryChecks(k: KindChecks): OpChecks {
  return {
${bodies.join('\n')}
  };
}

/** Both: a check of all arguments of each operation. */
export function makeChecks(k: KindChecks): OpChecks {
  const kinds = makeValueChecks(k);
  const memory = makeMemoryChecks(k);
  return {
${both.join('\n')}
  };
}
`;
}

function positional() {
  const bodies = Object.entries(OPS).map(([op, { args }]) => {
    const list = Object.keys(args).map((name) => `a.${name}`);
    return `${op}: (f, isa, threads, a) => f(isa, threads, ${list.join(', ')}),`;
  });
  return `${HEADER}import type { HostArrays } from '../host';
import type { OpName } from '../table';
import type { OpArgs } from '../types';

/** A function of an addon: table of kernels, threads, then the arguments in the order of the list. */
export type NativeFunction = (isa: number, threads: number, ...args: unknown[]) => unknown;

/** Calls of native functions: positional, because an object of many fields costs several times as much across the border. */
export const POSITIONAL: {
  readonly [N in OpName]: (f: NativeFunction, isa: number, threads: number, a: OpArgs<N, HostArrays>) => unknown;
} = {
${bodies.join('\n')}
};
`;
}

function rechecked() {
  const bodies = Object.keys(OPS).map(
    (op) => `${op}: (run, check) => (a) => {
      try {
        run(a);
      } catch (error) {
        check(a);
        throw namedError(error);
      }
    },`,
  );
  return `${HEADER}import { namedError } from '@megamoe/core';
import type { OpName } from '../table';

/** \`run\`, and \`check\` where it throws: the error of \`check\`, if it has one, goes before that of \`run\`. */
export type Rechecked = <A>(run: (a: A) => void, check: (a: A) => void) => (a: A) => void;

/**
 * Operations that compare addresses themselves, which costs less than a \`.buffer\`: what they refuse is looked at again, for an error of the
 * usual class and words. A function for each, because one that serves all is not inlined.
 */
export const RECHECKED: Readonly<Record<OpName, Rechecked>> = {
${bodies.join('\n')}
};
`;
}

const names = (args) => Object.keys(args).join(', ');

/** Arguments are read once, all of them before the first is kept: a getter may do anything, call the same operation too. */
function unwrap() {
  const bodies = Object.entries(OPS).map(([op, { args }]) => {
    const arrays = Object.entries(args).flatMap(([name, kind]) => {
      if (kind.kind !== 'tensor') return [];
      const array = `hostArray(${quoted(op)}, ${quoted(name)}, ${name}, ${quoted(kind.dtype)})`;
      return [`const ${name}Data = ${kind.optional ? `${name} === null ? null : ${array}` : array};`];
    });
    const lines = Object.entries(args).map(
      ([name, kind]) => `u.${name} = ${kind.kind === 'tensor' ? `${name}Data` : name};`,
    );
    return `${op}(a) {\ncheckArguments(${quoted(op)}, a);\nconst { ${names(args)} } = a;\n${arrays.join('\n')}\nconst u = scratch.${op};\n${lines.join('\n')}\nkernels.${op}(u);\n},`;
  });
  const scratch = Object.keys(OPS).map((op) => `${op}: new Unwrapped() as Unwrapped & Scratch<'${op}'>,`);
  return `${HEADER}import type { Tensors } from '../backend';
import type { HostArrays } from '../host';
import { checkArguments } from '../kind-checks';
import type { OpName } from '../table';
import { hostArray } from '../tensor';
import type { OpArgs, Operations } from '../types';
import { Unwrapped } from '../unwrapped';

type Scratch<N extends OpName> = { -readonly [A in keyof OpArgs<N, HostArrays>]: OpArgs<N, HostArrays>[A] };

/**
 * The operations of a backend on the host: kernels on typed arrays, with tensors unwrapped. A warm call allocates nothing. Arguments are all
 * read before the first is kept: a getter may do anything.
 */
export function onHost(kernels: Operations<HostArrays>): Operations<Tensors> {
  const scratch = {
${scratch.join('\n')}
  };
  return {
${bodies.join('\n')}
  };
}
`;
}

function takers() {
  const bodies = Object.entries(OPS).map(([op, { args }]) => {
    const lines = Object.keys(args).map((name) => `u.${name} = ${name};`);
    return `${op}(a) {\ncheckArguments(${quoted(op)}, a);\nif (Unwrapped.is(a)) return a;\nconst { ${names(args)} } = a;\nconst u = scratch.${op};\n${lines.join('\n')}\nreturn u;\n},`;
  });
  const scratch = Object.keys(OPS).map((op) => `${op}: {} as Scratch<'${op}'>,`);
  return `${HEADER}import type { HostArrays } from '../host';
import { checkArguments } from '../kind-checks';
import type { OpName } from '../table';
import type { OpArgs } from '../types';
import { Unwrapped } from '../unwrapped';

type Scratch<N extends OpName> = { -readonly [A in keyof OpArgs<N, HostArrays>]: OpArgs<N, HostArrays>[A] };

/**
 * Takes the arguments of a call, each once: what is checked is what is used. The object is good until the next call of that operation. Arguments
 * that were taken out of tensors come back themselves: \`taken === given\` says that their arrays need not be asked what they are.
 */
export type Takers = { readonly [N in OpName]: (a: OpArgs<N, HostArrays>) => OpArgs<N, HostArrays> };

/** {@link Takers}, with objects that are made once. */
export function makeTakers(): Takers {
  const scratch = {
${scratch.join('\n')}
  };
  return {
${bodies.join('\n')}
  };
}
`;
}

const config = (await prettier.resolveConfig(join(HOME, 'package.json'))) ?? {};
let stale = false;
for (const [name, text] of Object.entries({
  'value-checks': valueChecks(),
  'memory-checks': placeChecks(),
  positional: positional(),
  rechecked: rechecked(),
  'on-host': unwrap(),
  takers: takers(),
})) {
  const file = join(HOME, 'src', 'generated', `${name}.ts`);
  const wanted = await prettier.format(text, { ...config, parser: 'typescript' });
  let found = '';
  try {
    found = readFileSync(file, 'utf8');
  } catch {
    // not there yet
  }
  if (found === wanted) continue;
  if (process.argv.includes('--check')) {
    process.stderr.write(
      `packages/ops/src/generated/${name}.ts is not what table.ts says: run node packages/ops/scripts/generate.mjs\n`,
    );
    stale = true;
  } else writeFileSync(file, wanted);
}
process.exit(stale ? 1 : 0);
