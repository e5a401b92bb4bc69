/** A registry on this machine: verdaccio on the loopback interface, with storage that is thrown away. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { mustRun, ROOT } from '../lib/run.mjs';

const VERSION = '6.2.4'; // the last that runs on Node 20
const HOME = join(ROOT, '.tools', 'verdaccio');
const BIN = join(HOME, 'node_modules', 'verdaccio', 'bin', 'verdaccio');

function ensureVerdaccio() {
  if (existsSync(BIN)) return;
  process.stderr.write(`rehearse: fetching verdaccio ${VERSION}\n`);
  mkdirSync(HOME, { recursive: true });
  // It asks for node-fetch by a dist-tag, which not every mirror keeps: the same version by number.
  const manifest = { private: true, dependencies: { verdaccio: VERSION }, overrides: { 'node-fetch': '2.6.7' } };
  writeFileSync(join(HOME, 'package.json'), JSON.stringify(manifest));
  mustRun('npm', ['install', '--prefix', HOME, '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'], {
    quiet: true,
  });
}

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/**
 * Starts it. Ours are served from here only; other packages come through `upstream`, each once.
 * @returns `{ url, stop }`
 */
export async function startRegistry(dir, upstream) {
  ensureVerdaccio();
  mkdirSync(dir, { recursive: true });
  const ours = { access: '$all', publish: '$all', unpublish: '$all' };
  const config = {
    storage: join(dir, 'storage'),
    auth: { htpasswd: { file: join(dir, 'htpasswd'), max_users: -1 } },
    uplinks: { upstream: { url: upstream, maxage: '60m', timeout: '60s', max_fails: 3 } },
    packages: { '@megamoe/*': ours, megamoe: ours, '**': { access: '$all', proxy: 'upstream' } },
    max_body_size: '64mb',
    log: { type: 'file', path: join(dir, 'log'), format: 'json', level: 'http' },
    web: { enable: false },
  };
  writeFileSync(join(dir, 'config.yaml'), JSON.stringify(config)); // JSON is YAML
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/`;
  const child = spawn(process.execPath, [BIN, '--config', join(dir, 'config.yaml'), '--listen', `127.0.0.1:${port}`], {
    stdio: 'ignore', // what goes wrong stands in its log
  });
  const stop = () => child.kill();
  for (let tries = 0; tries < 300; tries++) {
    if (child.exitCode !== null) throw new Error(`verdaccio ended with exit code ${child.exitCode}`);
    try {
      if ((await fetch(`${url}-/ping`)).ok) return { url, stop };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  stop();
  throw new Error('verdaccio did not answer within a minute');
}
