/**
 * `node scripts/node-matrix.mjs [VERSION ...]`: the packages as npm installs them, on every Node that they are promised for, or on those
 * named (`20.17`, `24`): installed by that Node from the tarballs of the release, the snippets of every README, `require()` of every
 * package, `megamoe --version`, `doctor` and `generate` on both backends; a warning of Node counts as a failure. Prints a table; some
 * minutes. On Linux; needs cmake and g++ for the addons.
 *
 * `node scripts/node-matrix.mjs --suite VERSION`: `npm test` of this checkout on that Node.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureNode, NODES, pinned, requiresEsm } from './lib/nodes.mjs';
import { mustRun, ROOT, toolEnv } from './lib/run.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';
import { compileSnippets, runCompiled, snippetsOf } from './rehearse/snippets.mjs';
import { PLATFORMS, thisPlatform } from './release/platforms.mjs';
import { stage } from './release/stage.mjs';

const { values, positionals } = parseArgs({ options: { suite: { type: 'string' } }, allowPositionals: true });
const asked = values.suite === undefined ? positionals : [values.suite];

/** Stops with what was wrong. */
function stop(code, text) {
  process.stderr.write(`node-matrix: ${text}\n`);
  process.exit(code);
}

const unknown = asked.find((version) => pinned(version) === undefined);
if (unknown !== undefined) stop(2, `no Node ${unknown}; there are ${NODES.join(', ')}`);
if (process.platform !== 'linux') stop(1, `the versions of Node are fetched for Linux, this is ${process.platform}`);
if (values.suite !== undefined) {
  if (positionals.length > 0) stop(2, `--suite takes one version, got ${[...asked, ...positionals].join(' ')}`);
  const node = ensureNode(pinned(values.suite));
  const path = [dirname(node), process.env.PATH].join(delimiter); // commands of packages ask for the `node` on the PATH
  const env = { ...process.env, PATH: path };
  process.exit(spawnSync(node, [join(ROOT, 'scripts', 'test.mjs')], { cwd: ROOT, env, stdio: 'inherit' }).status ?? 1);
}
if (thisPlatform() === undefined) stop(1, `no addon is prebuilt for ${process.arch} with this C library`);
ensureInstalled();
ensureBuilt();
mustRun(process.execPath, [join(ROOT, 'scripts', 'release', 'addons.mjs')]);

const REQUIRE = join(ROOT, 'scripts', 'rehearse', 'require.mjs');
const TEXT = 'The capital of France is Paris.';
const work = mkdtempSync(join(tmpdir(), 'megamoe-nodes-'));

/** npm's own program, so that the Node under test runs it. */
const NPM = process.env.PATH.split(delimiter)
  .map((dir) => join(dir, 'npm'))
  .find((file) => existsSync(file));

/** Runs `args` by a Node in `dir`; throws with its output when it fails or when Node warns. */
function nodeIn(node, dir, args) {
  const done = spawnSync(node, args, { cwd: dir, encoding: 'utf8', env: toolEnv(), timeout: 600_000 });
  const output = `${done.stdout ?? ''}${done.stderr ?? ''}${done.error?.message ?? ''}`;
  const said = `${args.join(' ')}: ${output.slice(-4000)}`;
  if (done.status !== 0) throw new Error(said);
  if (/^\(node:\d+\) .*Warning/m.test(done.stderr)) throw new Error(`Node warns: ${said}`);
  return done;
}

/** What to try on a Node, each a column: a function that returns the text of its cell or throws. */
const COLUMNS = {
  install({ node, dir, tarballs }) {
    writeFileSync(join(dir, 'package.json'), '{ "private": true, "type": "module" }\n');
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'];
    nodeIn(node, dir, [realpathSync(NPM), 'install', '--engine-strict', ...quiet, ...tarballs]);
    return `${tarballs.length} packages`;
  },
  snippets({ node, dir, names }) {
    const readmes = [...names.map((name) => join(dir, 'node_modules', name, 'README.md')), join(ROOT, 'README.md')];
    const codes = readmes.flatMap((file) => snippetsOf(file));
    const compiled = join(work, 'out');
    if (!existsSync(compiled)) {
      compileSnippets(dir, codes);
      cpSync(join(dir, 'out'), compiled, { recursive: true });
    } else cpSync(compiled, join(dir, 'out'), { recursive: true });
    runCompiled((args) => nodeIn(node, dir, args), dir, codes);
    return `${codes.length} run`;
  },
  'require()'({ node, dir, names, version }) {
    const files = Object.fromEntries(names.map((name) => [name, join(dir, 'index.cjs')]));
    const found = JSON.parse(nodeIn(node, dir, [REQUIRE, JSON.stringify(files)]).stdout);
    const wanted = requiresEsm(version) ? 'as import' : 'ERR_REQUIRE_ESM';
    const others = Object.entries(found).filter(([, what]) => what !== wanted);
    if (others.length > 0) throw new Error(`expected ${wanted}: ${JSON.stringify(others)}`);
    return wanted;
  },
  '--version'({ megamoe, dir }) {
    const { version } = JSON.parse(readFileSync(join(dir, 'node_modules', 'megamoe', 'package.json'), 'utf8'));
    const printed = megamoe('--version').stdout.trim();
    if (printed !== version) throw new Error(`it prints ${printed}, its manifest says ${version}`);
    return printed;
  },
  doctor({ megamoe }) {
    const { chosen, addons } = JSON.parse(megamoe('doctor', '--json').stdout);
    const wrong = addons.find(
      ({ name, reason }) => !reason.startsWith(`prebuilt: @megamoe/${name}-${thisPlatform().id} `),
    );
    if (wrong !== undefined || chosen !== 'cpu') throw new Error(`${chosen}: ${JSON.stringify(addons)}`);
    return chosen;
  },
  generate({ megamoe }) {
    const texts = ['cpu', 'js'].map((backend) =>
      megamoe('generate', '--backend', backend, TEXT.replace(/ Paris.$/, '')).stdout.trim(),
    );
    if (texts.some((text) => text !== TEXT)) throw new Error(`it prints ${JSON.stringify(texts)}`);
    return 'cpu, js: Paris';
  },
};

/** The cells of one Node; the first failure ends its row. */
function row(version, tarballs, names) {
  const node = ensureNode(version);
  const dir = join(work, version);
  mkdirSync(dir);
  const megamoe = (...args) => nodeIn(node, dir, [join('node_modules', 'megamoe', 'dist', 'main.js'), ...args]);
  const cells = [version];
  for (const [name, attempt] of Object.entries(COLUMNS)) {
    try {
      cells.push(attempt({ node, dir, tarballs, names, version, megamoe }));
    } catch (error) {
      process.exitCode = 1;
      process.stderr.write(`node-matrix: Node ${version}, ${name}: ${error.message}\n`);
      return [...cells, 'FAILED'];
    }
  }
  return cells;
}

try {
  const packages = join(work, 'packages');
  const foreign = PLATFORMS.filter(({ id }) => id !== thisPlatform().id);
  const ours = stage({ out: packages, addons: join(ROOT, '.release', 'addons') }).filter(
    ({ name }) => !foreign.some(({ id }) => name.endsWith(`-${id}`)),
  );
  const names = ours.map(({ name }) => name).filter((name) => !PLATFORMS.some(({ id }) => name.endsWith(`-${id}`)));
  const tarballs = ours.map(({ file }) => join(packages, file));
  const versions = asked.length > 0 ? asked.map(pinned) : NODES;
  const table = [['Node', ...Object.keys(COLUMNS)], ...versions.map((version) => row(version, tarballs, names))];
  const widths = table[0].map((_, c) => Math.max(...table.map((cells) => (cells[c] ?? '').length)));
  for (const cells of table)
    process.stdout.write(
      `${cells
        .map((cell, c) => cell.padEnd(widths[c]))
        .join('  ')
        .trimEnd()}\n`,
    );
} finally {
  rmSync(work, { recursive: true, force: true });
}
