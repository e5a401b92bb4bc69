import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { ROOT } from './tools';

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const tracked = execFileSync('git', ['ls-files'], { cwd: ROOT, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file && existsSync(join(ROOT, file)));

/** Packages with kernels for several instruction sets. */
const packages = tracked.flatMap((file) => /^(packages\/[^/]+)\/native\/kernels\/dispatch\.cc$/.exec(file)?.[1] ?? []);

/** Names of the structs of a header that hold pointers to functions. */
function tablesIn(header: string): string[] {
  const structs = header.matchAll(/^struct (\w+) \{\n([\s\S]*?)^\};/gm);
  return [...structs].flatMap(([, name, body]) => (/\(\*\w+\)\(/.test(body!) ? [name!] : []));
}

it('a table is what holds pointers to functions', () => {
  const header = 'struct A {\n  int (*f)(int n);\n};\n\nstruct B {\n  int n;\n};\nint (*g)(int);\n';
  expect(tablesIn(header)).toEqual(['A']);
});

it('one .clang-format for all C++, with the length of line that every machine checks', () => {
  expect(tracked.filter((file) => file.endsWith('.clang-format'))).toEqual(['.clang-format']);
  const columns = /^ColumnLimit: (\d+)$/m.exec(read('.clang-format'))?.[1];
  expect(read('scripts/lib/cpp-style.mjs')).toContain(`const MAX_COLUMNS = ${columns};`);
});

it('finds the packages with kernels', () => {
  expect(packages).toEqual(['packages/attention', 'packages/gemm-native']);
});

describe.each(packages)('%s', (folder) => {
  const kernels = `${folder}/native/kernels`;
  const headers = tracked.filter((file) => file.startsWith(`${kernels}/`) && file.endsWith('.h'));

  it('lists its operations once, in the common form, each with a type of parameters of its own', () => {
    const table = read(`${kernels}/kernel_table.h`);
    const operations = [...table.matchAll(/^ {2}OPERATION\((\S+), (\w+), (\w+)\)/gm)];
    expect(operations.length).toBeGreaterThan(3);
    expect(new Set(operations.map(([, , name]) => name)).size).toBe(operations.length);
    expect(new Set(operations.map(([, , , params]) => params)).size).toBe(operations.length);
    expect(table).toContain('(*name)(const Params&, int threads) = nullptr;');
  });

  it('names its instruction sets best first', () => {
    const sets = [...read(`${kernels}/dispatch.cc`).matchAll(/isa::k(\w+), /g)].map(([, name]) => name);
    expect(sets).toEqual(['Avx512', 'Avx2', 'NeonDotprod', 'Neon', 'Generic']);
  });

  it('proves in tables_test.cc of every table that no entry takes what belongs to another', () => {
    const test = read(`${folder}/native/test/tables_test.cc`);
    const tables = headers.flatMap((file) => tablesIn(read(file)));
    expect(tables).toContain('KernelTable');
    expect(test).toContain('static_assert(assignablePairs(');
    expect(
      tables.filter((name) => !new RegExp(`\\b${name}\\b(?:<.*>)?(?:::name\\)|\\{\\}|>\\(\\) ==)`).test(test)),
    ).toEqual([]);
  });

  it.each(headers)('%s is included once and in the namespace of the house', (file) => {
    const text = read(file);
    expect(text).toMatch(/^#pragma once$/m);
    expect(text).toMatch(/^namespace megamoe::/m);
  });
});
