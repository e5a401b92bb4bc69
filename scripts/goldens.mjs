/**
 * Everything that a folder of tools/oracle/make_goldens.py tiny can judge, run on js and on each instruction set of this machine; prints the
 * figures and fails when one is out of its bound. The tests hold a part of this; the rest needs weights that are not in the repository.
 *
 *   node scripts/goldens.mjs DIR [--engines js,generic,avx2] [--precisions bf16,w4a16,w4a4] [--prompts story,json] [--all] [--json]
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createBackend, ISAS } from '../packages/model/dist/index.js';
import { checkModel } from './golden/model.mjs';
import { checkQuantize, checkShipped, checkTokenizer } from './golden/checkpoint.mjs';

const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engines: { type: 'string' },
    precisions: { type: 'string', default: 'bf16,w4a16,w4a4' },
    prompts: { type: 'string' },
    all: { type: 'boolean', default: false }, // a line for each prompt, not for the worst
    json: { type: 'boolean', default: false },
  },
});
const [dir] = positionals;
if (positionals.length !== 1 || !existsSync(join(dir, 'results.json'))) {
  process.stderr.write('goldens: give the folder that make_goldens.py wrote: it holds results.json\n');
  process.exit(2);
}

/** js, and the instruction sets that this processor has. */
const ENGINES = ['js', ...ISAS.filter((isa) => isa !== 'auto')].filter((name) => {
  try {
    return createBackend(engineOptions(name)).name === engineOptions(name).backend;
  } catch {
    return false;
  }
});

function engineOptions(name) {
  return name === 'js' ? { backend: 'js' } : { backend: 'cpu', isa: name };
}

function chosen(text, all, what) {
  const names = text?.split(',') ?? all;
  const unknown = names.find((name) => !all.includes(name));
  if (unknown === undefined) return names;
  process.stderr.write(`goldens: no ${what} "${unknown}" here; there are ${all.join(', ')}\n`);
  process.exit(2);
}

const golden = JSON.parse(readFileSync(join(dir, 'results.json'), 'utf8'));
const engines = chosen(o.engines, ENGINES, 'engine');
const precisions = chosen(o.precisions, ['bf16', 'w4a16', 'w4a4'], 'precision');
const ids = chosen(
  o.prompts,
  golden.prompts.map((p) => p.id),
  'prompt',
);
const prompts = golden.prompts.filter((p) => ids.includes(p.id));

const rows = [];
/** Takes in a finding: what was measured where, its bound in words, and whether it is kept. */
const report = (row) => void rows.push({ engine: '', what: '', prompt: '', note: '', ...row });

const text = (x) => (typeof x !== 'number' || Number.isInteger(x) ? String(x) : x.toExponential(2));
const widths = [8, 24, 9, 16];
function print({ engine, what, prompt, value, bound, ok, note }) {
  const cells = [engine, what, text(value), prompt].map((cell, i) => cell.padEnd(widths[i]));
  process.stdout.write(`${ok ? 'ok  ' : 'FAIL'} ${cells.join(' ')} ${bound}${note === '' ? '' : `  (${note})`}\n`);
}

/** Prints what came in since the last call: of each figure the worst prompt, and every one that is out of its bound. */
let printed = 0;
function printNew() {
  const fresh = rows.slice(printed);
  printed = rows.length;
  if (o.json) return;
  const figures = group(fresh);
  for (const all of figures.values()) {
    const worst = all.reduce((a, b) => (b.value > a.value ? b : a));
    for (const row of o.all ? all : new Set([worst, ...all.filter((r) => !r.ok)])) print(row);
  }
}

function group(list) {
  const found = new Map();
  for (const row of list) found.set(row.what, [...(found.get(row.what) ?? []), row]);
  return found;
}

checkShipped(dir, report);
checkTokenizer(dir, prompts, report);
await checkQuantize(dir, report);
printNew();
for (const precision of precisions)
  for (const engine of engines) {
    await checkModel({ dir, golden, prompts, precision, engine, options: engineOptions(engine), report });
    printNew();
  }

const failed = rows.filter((r) => !r.ok);
if (o.json) process.stdout.write(`${JSON.stringify(rows)}\n`);
else process.stdout.write(`${rows.length} figures, ${failed.length} out of bound\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
