/** The fuzz of all public functions with hostile arrays (scripts/fuzz/arrays.mjs): that it finds what is wrong, and nothing in the packages. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ROOT, run } from './tools';

/** Functions with one slip each, and one without; `table` says how to call them. */
const FAULTY = `
import { KindError, ShapeError, checkApart, checkInteger, checkKind, checkObject } from '@megamoe/core';
export const module = {
  right(x, out) {
    checkKind('right', 'x', x, Float32Array);
    checkKind('right', 'out', out, Float32Array);
    checkApart('right', 'out', out, 'x', x);
    if (x.length !== 4 || out.length !== 4) throw new ShapeError('right: "x" and "out" must have length 4');
    for (let i = 0; i < 4; i++) out[i] = x[3 - i];
  },
  overlaps(x, out) {
    checkKind('overlaps', 'x', x, Float32Array);
    checkKind('overlaps', 'out', out, Float32Array);
    if (x.length !== 4 || out.length !== 4) throw new ShapeError('overlaps: "x" and "out" must have length 4');
    for (let i = 0; i < 4; i++) out[i] = x[3 - i];
  },
  bare(x) {
    return x.fill(1).length;
  },
  writes(x) {
    checkKind('writes', 'x', x, Float32Array);
    new Uint8Array(x.buffer).fill(1);
  },
  species(x) {
    checkKind('species', 'x', x, Float32Array);
    return x.map((v) => 2 * v);
  },
  rereads(options) {
    checkObject('rereads', 'options', options);
    checkInteger('rereads', 'n', options.n, 0, 9);
    return options.n;
  },
  half(x) {
    checkKind('half', 'x', x, Float32Array);
    for (let i = 0; i < 4; i++) x[i] = 7;
    if (x.length !== 4) throw new ShapeError('half: "x" must have length 4');
  },
  nameless(n) {
    if (n !== 3) throw new KindError('the argument is wrong');
  },
};
export const table = { calls: {
  right: (r) => ({ args: [r.floats(4), r.floats(4)], writes: ['1'] }),
  overlaps: (r) => ({ args: [r.floats(4), r.floats(4)], writes: ['1'] }),
  bare: (r) => ({ args: [r.floats(4)], writes: ['0'] }),
  writes: (r) => ({ args: [r.floats(4)], writes: ['0'] }),
  species: (r) => ({ args: [r.floats(4)] }),
  rereads: (r) => ({ args: [{ n: r.below(9) }] }),
  half: (r) => ({ args: [r.floats(4)], writes: ['0'] }),
  nameless: () => ({ args: [3] }),
} };
`;

it('finds each kind of slip, and none where there is none', async () => {
  const at = (file: string): string => JSON.stringify(join(ROOT, 'scripts', 'fuzz', 'arrays', file));
  const core = JSON.stringify(join(ROOT, 'packages', 'core', 'dist', 'index.js'));
  const script = `${FAULTY.replace("'@megamoe/core'", core)}
import { makeFuzzer } from ${at('round.mjs')};
import { callables, gaps } from ${at('surface.mjs')};
const found = {};
const surface = callables(module);
const fuzzer = makeFuzzer({ module, table, surface });
for (let id = 1; id < 6000; id++)
  for (const { name, fault } of await fuzzer.round(id)) (found[name] ??= new Set()).add(fault.replace(/:.*/, '').replace(/[0-9]+/g, '#'));
const gapsOf = gaps(callables({ ...module, added() {} }), { calls: { ...table.calls, removed: 1 } });
console.log(JSON.stringify({ found: Object.fromEntries(Object.entries(found).map(([k, v]) => [k, [...v]])), gaps: gapsOf }));`;
  const { stdout, output } = await run(['--input-type=module', '-e', script]);
  expect(stdout, output).not.toBe('');
  const { found, gaps } = JSON.parse(stdout) as { found: Record<string, string[]>; gaps: unknown };
  const expected = {
    overlaps: 'taken, but byte # of "#" is',
    bare: 'a bare TypeError',
    writes: 'taken, but byte #, which is no output',
    species: 'foreign result',
    rereads: 'foreign result',
    half: 'refused (half',
    nameless: 'does not name the function',
  };
  for (const [name, fault] of Object.entries(expected))
    expect(
      found[name]?.some((text) => text.startsWith(fault)),
      `${name}: ${String(found[name])}`,
    ).toBe(true);
  expect(found['right']).toBeUndefined();
  expect(gaps).toEqual({ missing: ['added'], gone: ['removed'] });
});

it('finds nothing in the packages in a few thousand calls, and calls all that they export', async () => {
  // 200 rounds of each package, all from one process: most of the time is loading, and that they share. It holds each package's
  // exports against its table; what a few calls of each function do not find, minutes of `node scripts/fuzz/arrays.mjs` do.
  const { code, output } = await run([join('scripts', 'fuzz', 'arrays.mjs'), '--together', '--rounds', '200']);
  expect(code, output).toBe(0);
});
