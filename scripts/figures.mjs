/**
 * `node scripts/figures.mjs [--check]`: writes the table of measured speeds in README.md from the newest rows of bench/history.csv;
 * --check only says whether the table is the one that the CSV gives.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './lib/run.mjs';

/** Rows of the table: name in the CSV, a part of its shape, what a reader calls it, and what the limit beside it is. */
const ROWS = [
  ['w4a4-gemv', '', 'NVFP4 weights times one row, W4A4', 'reading memory'],
  ['w4a4-gemm', 'm=512', 'NVFP4 weights times 512 rows, W4A4', 'integer dot products'],
  ['moe', 'tokens=512', 'one MoE layer, 512 tokens', 'integer dot products'],
  ['linear-bf16', 'm=1 ', 'BF16 weights times one row', 'reading memory'],
  ['attend-decode', '', 'attention, one query, 640 keys', 'float32 FMA or reading keys'],
  ['swizzle-cold', '', 'scales to the 128x4 layout', 'copying'],
  ['step-decode', 'vocab=129280 context=4096', 'a decode step of V4-Flash shape', 'reading its active weights'],
  ['step-prefill', 'vocab=129280 inputs=bf16', '512 tokens of V4-Flash shape, BF16 inputs', 'integer dot products'],
  ['step-prefill', 'vocab=129280 dense=nvfp4', '512 tokens of V4-Flash shape, all in NVFP4', 'integer dot products'],
  ['tiny-decode', '', 'the shipped model, decode', 'reading its weights from cache'],
  ['tiny-first-token', '', 'command to first text', 'a bare Node process'],
];

/** Fields of a CSV line; a quoted field may hold commas. */
const fields = (line) => [...line.matchAll(/(?:^|,)(?:"([^"]*)"|([^,]*))/g)].map((m) => m[1] ?? m[2]);

const [head, ...lines] = readFileSync(join(ROOT, 'bench', 'history.csv'), 'utf8')
  .trim()
  .split('\n');
const names = fields(head);
const history = lines.map((line) => Object.fromEntries(fields(line).map((value, i) => [names[i], value])));

/** Instruction sets that stand beside each other, as a row's runtime names them, and as people do. */
const ISAS = [
  ['avx512', 'AVX-512'],
  ['avx2', 'AVX2'],
];

/** The newest measurement of a row with an instruction set, on the most threads. */
function newest(name, shape, isa) {
  const of = history.filter(
    (row) => row.name === name && row.shape.includes(shape) && row.runtime.includes(`(${isa})`),
  );
  const date = of
    .map((row) => row.date)
    .sort()
    .at(-1);
  return of.filter((row) => row.date === date).sort((a, b) => Number(b.threads) - Number(a.threads))[0];
}

const found = ROWS.flatMap(([name, shape, label, limit]) => {
  const rows = ISAS.map(([isa]) => newest(name, shape, isa));
  return rows.includes(undefined) ? [] : [{ label, limit, rows }];
});
if (found.length < 5) throw new Error('bench/history.csv holds fewer than five of the rows that the README shows');
const latest = found.flatMap(({ rows }) => rows).reduce((a, b) => (a.date > b.date ? a : b));
const number = (value) =>
  value >= 1000 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3).replace(/\.0+$/, '');
const share = ({ fraction, unit }) =>
  unit === 'ms' || unit === 'us' ? `${Number(fraction).toFixed(1)} x` : `${(100 * Number(fraction)).toFixed(0)} %`;
const cell = (row) => `${number(Number(row.median))} ${row.unit} | ${share(row)}`;
const table = [
  `Newest rows of \`bench/history.csv\`, ${latest.threads} threads of an ${latest.machine.replace(/ x\d+$/, '')} (${latest.runtime.split(',')[0]}), by`,
  '`npm run -s megamoe -- bench`, with `--isa avx2` beside it; each limit is measured in the same run:',
  '',
  `| What | ${ISAS.map(([, name]) => `${name} | of the limit`).join(' | ')} | Limit |`,
  `|---|${ISAS.map(() => '---|---|').join('')}---|`,
  ...found.map(({ label, limit, rows }) => `| ${label} | ${rows.map(cell).join(' | ')} | ${limit} |`),
].join('\n');

const file = join(ROOT, 'README.md');
const readme = readFileSync(file, 'utf8');
const MARKED = /(<!-- figures -->\n)[\s\S]*?(<!-- \/figures -->)/;
if (!MARKED.test(readme)) throw new Error('README.md has no <!-- figures --> ... <!-- /figures -->');
const updated = readme.replace(MARKED, (_, start, end) => `${start}${table}\n${end}`);
if (process.argv.includes('--check')) {
  if (updated === readme) process.exit(0);
  process.stderr.write(
    'README.md: the table of figures is not what bench/history.csv gives: run "node scripts/figures.mjs"\n',
  );
  process.exit(1);
}
writeFileSync(file, updated);
