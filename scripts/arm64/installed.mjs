/** The packages as a user on 64-bit Arm installs them, run by an Arm Node under an emulator: the addons load, compute and generate. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureNode, pinned } from '../lib/nodes.mjs';
import { ROOT, toolEnv } from '../lib/run.mjs';
import { PLATFORMS } from '../release/platforms.mjs';
import { stage } from '../release/stage.mjs';

const FOR_ARM = ['--os=linux', '--cpu=arm64', '--libc=glibc'];
const LIBRARIES = '/usr/aarch64-linux-gnu';
const EXPECTED = 'The capital of France is Paris.';

function run(command, args, cwd, env = {}) {
  const done = spawnSync(command, args, { cwd, encoding: 'utf8', env: toolEnv(env), maxBuffer: 1 << 26 });
  const output = `${done.stdout ?? ''}${done.stderr ?? ''}${done.error?.message ?? ''}`;
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${output.slice(-4000)}`);
  return done;
}

function npmInstall(dir, ...packages) {
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error', '--force'];
  run('npm', ['install', '--prefix', dir, ...quiet, ...FOR_ARM, ...packages], dir);
}

/**
 * Packs everything with the addons in `addons`, installs it for `platform` and runs it on each processor of `processors`, an object of
 * emulated processor to the instruction set expected of the addons. Calls `report(what, { ok, text })` for each.
 */
export function checkInstalled({ addons, platform, processors, report }) {
  const work = mkdtempSync(join(tmpdir(), 'megamoe-arm64-'));
  try {
    const node = ensureNode(pinned('22'), 'arm64');
    const tarballs = join(work, 'tarballs');
    const foreign = PLATFORMS.filter(({ id }) => id !== platform);
    const ours = stage({ out: tarballs, addons }).filter(({ name }) => !foreign.some(({ id }) => name.endsWith(id)));
    const dir = join(work, 'project');
    mkdirSync(dir);
    writeFileSync(join(dir, 'package.json'), '{ "private": true, "type": "module" }\n');
    npmInstall(dir, ...ours.map(({ file }) => join(tarballs, file)));
    copyFileSync(join(ROOT, 'scripts', 'arm64', 'w4a4.mjs'), join(dir, 'w4a4.mjs'));
    const here = JSON.parse(run(process.execPath, ['w4a4.mjs'], dir).stdout);
    for (const [cpu, isa] of Object.entries(processors)) {
      const emulated = (...args) => run('qemu-aarch64', ['-L', LIBRARIES, node, ...args], dir, { QEMU_CPU: cpu });
      report(`installed on ${cpu}, W4A4`, compareBits(here, JSON.parse(emulated('w4a4.mjs').stdout), isa));
      const main = join('node_modules', 'megamoe', 'dist', 'main.js');
      const { stdout, stderr } = emulated(main, 'generate', EXPECTED.slice(0, -' Paris.'.length));
      const line = stderr.split('\n').find((l) => l.includes('backend')) ?? 'no line about the backend';
      const ok = stdout.trim() === EXPECTED && line.includes(`cpu (${isa},`);
      report(`installed on ${cpu}, generate`, { ok, text: `${JSON.stringify(stdout.trim())}, ${line}` });
    }
  } catch (error) {
    report('installed', { ok: false, text: error instanceof Error ? error.message : String(error) });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** `here` is the js backend on this machine: no addon for it was installed. */
function compareBits(here, there, isa) {
  const digests = { [`js on ${process.arch}`]: here.js, 'js on arm64': there.js, [`${there.isa} addon`]: there.native };
  const ok = Object.values(digests).every((d) => d === here.js) && there.isa === isa;
  const text = Object.entries(digests).map(([name, value]) => `${name} ${value ?? `missing: ${there.reason}`}`);
  return { ok, text: `${text.join(', ')}${there.isa === isa ? '' : `; expected ${isa}`}` };
}
