import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Root of native-kit. */
export const KIT = fileURLToPath(new URL('..', import.meta.url));

const COMMAND = join(KIT, 'bin', 'build-addon.mjs');

/** A throw-away package below test/.tmp. */
export class TestPackage {
  readonly root: string;

  constructor(readonly name = '@scope/probe') {
    const parent = join(KIT, 'test', '.tmp');
    mkdirSync(parent, { recursive: true });
    this.root = mkdtempSync(join(parent, 'pkg-'));
    this.write('package.json', JSON.stringify({ name, version: '1.2.3', type: 'module' }));
  }

  write(path: string, text: string): string {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  }

  has(path: string): boolean {
    return existsSync(join(this.root, path));
  }

  /** URL of a module in it. */
  url(path = 'src/index.js'): string {
    return pathToFileURL(join(this.root, path)).href;
  }

  /** Makes dependencies of a sibling package available. */
  link(from: string, names: readonly string[]): void {
    mkdirSync(join(this.root, 'node_modules'), { recursive: true });
    for (const name of names)
      symlinkSync(join(KIT, '..', from, 'node_modules', name), join(this.root, 'node_modules', name));
  }

  copyFrom(path: string, to: string): void {
    cpSync(join(KIT, path), join(this.root, to), { recursive: true });
  }

  /** Runs megamoe-build-addon in it. */
  build(args: readonly string[], env: NodeJS.ProcessEnv = {}): { code: number | null; output: string } {
    const r = spawnSync(process.execPath, [COMMAND, ...args], {
      cwd: this.root,
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });
    return { code: r.status, output: r.stdout + r.stderr };
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
