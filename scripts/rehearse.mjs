/**
 * `node scripts/rehearse.mjs [--only STEP,...]`: a whole release against a registry on this machine, used as a stranger would: versions
 * by changesets, publish, install into empty folders without a compiler and with install scripts disabled, snippets, the command,
 * the fallback, a build from source, an upgrade, a prerelease. Prints for each installation its packages, versions, size and backend.
 * Minutes, not part of `npm test`. Steps: alone, command, fallback, gpu, source (needs cmake and g++), upgrade, prerelease. Without nvcc the
 * addon of the `cuda` package is left out.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { mustRun, ROOT } from './lib/run.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';
import { startRegistry } from './rehearse/registry.mjs';
import { importsOf, runSnippets, snippetsOf } from './rehearse/snippets.mjs';
import { backendOf, installed, User } from './rehearse/user.mjs';
import { changeset, copyRepository, git } from './release/copy.mjs';
import { PLATFORMS, thisPlatform } from './release/platforms.mjs';
import { publicPackages } from './release/workspace.mjs';

const STEPS = { alone, command, fallback, gpu, source, upgrade, prerelease };
const { values } = parseArgs({ options: { only: { type: 'string', default: Object.keys(STEPS).join() } } });
const steps = values.only.split(',');
const unknown = steps.find((step) => !(step in STEPS));
if (unknown !== undefined) {
  process.stderr.write(`rehearse: no step ${unknown}; there are ${Object.keys(STEPS).join(', ')}\n`);
  process.exit(2);
}
const say = (text) => process.stdout.write(`${text}\n`);
const started = Date.now();

const work = mkdtempSync(join(tmpdir(), 'megamoe-rehearsal-'));
const repo = join(work, 'repo');
let registry;

function check(holds, what) {
  if (!holds) throw new Error(`rehearse: ${what}`);
}

const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** Lines about what an installation brought: packages, size, versions, and the backend that its packages choose. */
function report(label, nodeModules, more = '') {
  const all = installed(nodeModules);
  const ours = all.filter(({ name }) => /^(@megamoe\/|megamoe$)/.test(name));
  const names = ours.map(({ name, version }) => `${name.replace('@megamoe/', '')} ${version}`).join(', ');
  const bytes = all.reduce((sum, p) => sum + p.bytes, 0);
  say(`  ${label}: ${all.length} package${all.length === 1 ? '' : 's'}, ${size(bytes)}: ${names}`);
  say(`    ${backendOf(user, ours)}${more && `; ${more}`}`);
  return new Map(ours.map(({ name, version }) => [name, version]));
}

const isPlatformPackage = (id) => PLATFORMS.some((p) => id.includes(`-${p.id}@`));

/** Versions, stages, publishes and tags the copy as it stands; returns what went out. */
function release() {
  changeset(repo, 'version');
  git(repo, 'add', '-A', '--', '.', ':!node_modules');
  git(repo, 'commit', '-qm', 'Release');
  const node = (script, ...args) =>
    execFileSync(process.execPath, [join(repo, 'scripts', 'release', script), ...args], {
      encoding: 'utf8',
      env: {
        ...process.env,
        NPM_CONFIG_USERCONFIG: user.env.NPM_CONFIG_USERCONFIG,
        NPM_CONFIG_CACHE: user.env.NPM_CONFIG_CACHE,
      },
    });
  const unpublished = node('unpublished.mjs', '--registry', registry.url).trim();
  node('stage.mjs');
  const out = node('publish.mjs', '--registry', registry.url).trim().split('\n').filter(Boolean);
  const owners = out.filter((id) => !isPlatformPackage(id)); // platform packages go along with theirs
  const named = unpublished.replace('unpublished=', '').split(' ');
  check(named.sort().join() === [...owners].sort().join(), `published ${owners.join(' ')}, but "${unpublished}"`);
  changeset(repo, 'tag');
  const tags = git(repo, 'tag', '--points-at', 'HEAD').trim().split('\n');
  check(tags.sort().join() === owners.sort().join(), `published ${owners.join(' ')}, tagged ${tags.join(' ')}`);
  return out;
}

const addChangeset = (name, text) => writeFileSync(join(repo, '.changeset', `${name}.md`), text);
const versionsOf = () => new Map(publicPackages(repo).map(({ manifest }) => [manifest.name, manifest.version]));

/** What was staged last. */
const staged = () => JSON.parse(readFileSync(join(repo, '.release', 'packages', 'packages.json'), 'utf8'));

/** Names of ours that `name` needs, itself included, and the platform package of an addon. */
function closure(name, packages = publicPackages(repo)) {
  const p = packages.find(({ manifest }) => manifest.name === name);
  const prebuilt = `${name}-${thisPlatform().id}`;
  const own = staged().some((other) => other.name === prebuilt) ? [name, prebuilt] : [name];
  const needed = Object.keys(p.manifest.dependencies ?? {}).filter((d) =>
    packages.some(({ manifest }) => manifest.name === d),
  );
  return [...new Set([...own, ...needed.flatMap((d) => closure(d, packages))])].sort();
}

/** What `megamoe doctor` says of the backend. */
function doctor(dir, ...command) {
  const { stdout } = user.run(dir, command[0], [...command.slice(1), 'doctor', '--json']);
  return JSON.parse(stdout);
}

/** Each package alone: nothing comes that it does not need, types hold, snippets run. */
function alone() {
  say('\nEach package alone, in an empty folder');
  for (const { manifest } of publicPackages(repo)) {
    const { name } = manifest;
    const dir = user.project(`alone-${name.replace(/\W+/g, '-')}`);
    user.install(dir, name);
    const got = [...report(name, join(dir, 'node_modules')).keys()].sort();
    check(
      got.join() === closure(name).join(),
      `${name} brought ${got.join(', ')}; it needs ${closure(name).join(', ')}`,
    );
    const codes = snippetsOf(join(dir, 'node_modules', name, 'README.md'));
    const others = [...new Set(codes.flatMap(importsOf))].filter((other) => other !== name && !got.includes(other));
    if (others.length > 0) user.install(dir, ...others);
    const count = runSnippets(user, dir, codes);
    say(
      `    ${count} snippet${count === 1 ? '' : 's'} with nodenext and bundler${others.length > 0 ? `, with ${others.join(', ')}` : ''}`,
    );
  }
}

function generate(dir, command, args, env = {}) {
  const at = Date.now();
  const { stdout, stderr } = user.run(dir, command, [...args, 'generate', '--max-tokens', '8'], env);
  check(stdout.includes('The capital of France is Paris'), `generate printed ${JSON.stringify(stdout)}`);
  return { line: stderr.split('\n').find((l) => l.includes('backend')) ?? '', ms: Date.now() - at };
}

/** `npm install -g megamoe`, and `npx megamoe` in a project: the addons are the prebuilt ones. */
function command() {
  say('\nThe command');
  const prefix = join(work, 'user', 'global');
  user.run(user.project('anywhere'), 'npm', ['install', '--global', '--prefix', prefix, 'megamoe']);
  const main = join(prefix, 'bin', 'megamoe');
  const found = doctor(work, 'node', main);
  check(found.chosen === 'cpu', `the backend is ${found.chosen}: ${found.addons.map((a) => a.reason).join('; ')}`);
  for (const { name, reason } of found.addons) {
    check(reason.startsWith(`prebuilt: @megamoe/${name}-${thisPlatform().id} `), `addon ${name}: ${reason}`);
    say(`  ${name}: ${reason}`);
  }
  const { line, ms } = generate(work, 'node', [main]);
  const got = report(
    'npm install -g megamoe',
    join(prefix, 'lib', 'node_modules'),
    `${line.trim()}; generate in ${ms} ms`,
  );
  const asked = [...got.keys()].filter((name) => name.startsWith('@megamoe/cuda'));
  check(asked.length === 0, `nobody asked for ${asked.join(', ')}`);
  const dir = user.project('npx');
  user.install(dir, 'megamoe');
  say(`  npx megamoe generate: ${generate(dir, 'npx', ['megamoe']).line.trim()}`);
  return dir;
}

/** Without the optional packages, with the addons disabled, with a damaged one: the js backend, one line that says so, the same text. */
function fallback() {
  say('\nWithout addons');
  const dir = user.project('fallback');
  user.install(dir, '--omit=optional', 'megamoe');
  const found = doctor(dir, 'npx', 'megamoe');
  check(found.chosen === 'js', `the backend is ${found.chosen} without addons`);
  say(`  ${found.addons[0].name}: ${found.addons[0].reason}`);
  report(
    'npm install --omit=optional megamoe',
    join(dir, 'node_modules'),
    generate(dir, 'npx', ['megamoe']).line.trim(),
  );
  const other = user.project('damaged');
  user.install(other, 'megamoe');
  const disabled = generate(other, 'npx', ['megamoe'], { MEGAMOE_DISABLE_NATIVE: '1' }).line;
  check(disabled.includes('backend js'), `disabled: ${disabled}`);
  say(`  MEGAMOE_DISABLE_NATIVE=1: ${disabled.trim()}`);
  const file = join(other, 'node_modules', `@megamoe/attention-${thisPlatform().id}`, 'attention.node');
  truncateSync(file, 100_000);
  const damaged = generate(other, 'npx', ['megamoe']).line;
  const { reason } = doctor(other, 'npx', 'megamoe').addons.find(({ name }) => name === 'attention');
  check(damaged.includes('backend js') && reason.includes('is cut short'), `damaged: ${damaged}; ${reason}`);
  say(`  attention.node cut short: ${damaged.trim()}; ${reason.replaceAll(user.home, '~')}`);
}

/** Who asks for the GPU backend gets its addon, and without a GPU hears why there is none; the command then runs on the CPU. */
function gpu() {
  say('\nWith @megamoe/cuda');
  const dir = user.project('gpu');
  user.install(dir, 'megamoe', '@megamoe/cuda');
  const got = report('npm install megamoe @megamoe/cuda', join(dir, 'node_modules'));
  const prebuilt = `@megamoe/cuda-${thisPlatform().id}`;
  const isStaged = staged().some(({ name }) => name === prebuilt);
  check(got.has(prebuilt) === isStaged, `${prebuilt} was ${isStaged ? 'not ' : ''}installed`);
  const code = "import { cudaReport } from '@megamoe/cuda'; console.log(JSON.stringify(cudaReport()));";
  const { available, reason } = JSON.parse(user.run(dir, 'node', ['--input-type=module', '--eval', code]).stdout);
  const { backends, chosen } = doctor(dir, 'npx', 'megamoe');
  const said = backends.find(({ name }) => name === 'cuda');
  check(said.available === available && said.description.includes(reason), `doctor: ${said.description}; ${reason}`);
  check(chosen === (available ? 'cuda' : 'cpu'), `the backend is ${chosen}`);
  if (isStaged) check(!reason.startsWith('addon cuda '), `the addon does not load: ${reason}`);
  say(`  ${available ? 'available' : 'not available'}: ${reason.replaceAll(user.home, '~')}`);
}

/** The addon of an installed package from its sources, on request, by a user who has a compiler. */
function source() {
  say('\nBuilt from source');
  const name = '@megamoe/attention';
  const dir = user.project('source');
  user.install(dir, '--omit=optional', name);
  user.install(dir, '--no-save', 'cmake-js@8', 'node-addon-api@8', 'node-api-headers@1');
  user.run(dir, 'npx', ['megamoe-build-addon', name], { PATH: `${user.bin}${delimiter}${process.env.PATH}` });
  report(`npx megamoe-build-addon ${name}`, join(dir, 'node_modules'));
  check(existsSync(join(dir, 'node_modules', name, 'build', 'Release', 'attention.node')), 'no addon was built');
  runSnippets(user, dir, snippetsOf(join(dir, 'node_modules', name, 'README.md')));
}

/** Patches of two packages, one with an addon, and a minor of a third: only what changed is published, and a project moves to it. */
function upgrade() {
  say('\nUpgrade');
  const dir = user.project('upgrade');
  user.install(dir, 'megamoe', '@megamoe/sf-layout');
  const before = report('before', join(dir, 'node_modules'));
  addChangeset(
    'trial',
    '---\n"@megamoe/sf-layout": patch\n"@megamoe/gemm-native": patch\n"@megamoe/sampler": minor\n---\n\nA trial.\n',
  );
  const out = release().filter((id) => !isPlatformPackage(id));
  say(`  published: ${out.join(' ')}, and the addon's platform packages`);
  const versions = versionsOf();
  const changed = [...versions].filter(
    ([name, version]) => before.get(name) !== undefined && before.get(name) !== version,
  );
  check(out.length === 5 && changed.length === 5, `expected 5 releases, got ${out.join(' ')}`);
  user.install(dir, 'megamoe@latest', '@megamoe/sf-layout@latest');
  const after = report('after', join(dir, 'node_modules'));
  for (const [name, version] of after)
    if (versions.has(name)) check(version === versions.get(name), `${name} is ${version}, not ${versions.get(name)}`);
  const addon = `@megamoe/gemm-native-${thisPlatform().id}`;
  check(after.get(addon) === versions.get('@megamoe/gemm-native'), `the addon is still ${addon} ${after.get(addon)}`);
  check(
    readFileSync(join(dir, 'node_modules', '@megamoe', 'sf-layout', 'CHANGELOG.md'), 'utf8').includes('A trial.'),
    'no changelog',
  );
  runSnippets(user, dir, snippetsOf(join(dir, 'node_modules', '@megamoe', 'sf-layout', 'README.md')));
  const { line } = generate(dir, 'npx', ['megamoe']);
  check(line.includes('backend cpu'), `after the upgrade: ${line}`);
  say(`    ${line.trim()}`);
}

/** A prerelease goes to its own tag: nobody gets it who did not ask. */
function prerelease() {
  say('\nPrerelease');
  const name = '@megamoe/sf-layout';
  const stable = versionsOf().get(name);
  changeset(repo, 'pre', 'enter', 'next');
  addChangeset('trial-next', `---\n"${name}": minor\n---\n\nA trial prerelease.\n`);
  say(`  published: ${release().join(' ')}`);
  const tags = JSON.parse(user.run(work, 'npm', ['view', name, 'dist-tags', '--json']).stdout);
  check(tags.latest === stable && /-next\.0$/.test(tags.next), `the tags are ${JSON.stringify(tags)}`);
  const dir = user.project('prerelease');
  user.install(dir, `${name}@next`);
  check(report(`${name}@next`, join(dir, 'node_modules')).get(name) === tags.next, 'the prerelease was not installed');
}

let user;
try {
  ensureInstalled();
  ensureBuilt();
  check(thisPlatform() !== undefined, `no addon is prebuilt for ${process.platform}-${process.arch}`);
  mustRun(process.execPath, [join(ROOT, 'scripts', 'release', 'addons.mjs')]);
  copyRepository(repo, { built: true });
  const upstream = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8', cwd: ROOT }).stdout.trim();
  registry = await startRegistry(join(work, 'registry'), upstream);
  user = new User(join(work, 'user'), registry.url);
  say('Published to a registry on this machine');
  const first = release();
  const sizes = new Map(staged().map((p) => [`${p.name}@${p.version}`, p]));
  for (const id of first)
    say(`  ${id.padEnd(46)} ${(sizes.get(id).packedBytes / 1e3).toFixed(1).padStart(8)} kB packed`);
  for (const step of Object.keys(STEPS)) if (steps.includes(step)) STEPS[step]();
  say(`\nThe rehearsal holds (${((Date.now() - started) / 1e3).toFixed(0)} s).`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  registry?.stop();
  rmSync(work, { recursive: true, force: true });
}
