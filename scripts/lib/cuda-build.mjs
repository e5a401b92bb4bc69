/** Builds packages/cuda with CMake and Ninja, in a checkout or in the folder that check-cuda.mjs packs. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Root of the repository, or of the packed folder. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const CUDA = join(ROOT, 'packages', 'cuda');

/** What a release has code for: A100 and its kin, Ada, Hopper, consumer Blackwell. */
export const RELEASE_ARCHITECTURES = ['80', '89', '90a', '120a'];

/** Programs that the build needs beside a C++ compiler, and which of them are not on the PATH. */
export const missingTools = () =>
  ['nvcc', 'cmake', 'ninja'].filter((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status !== 0);

/** Headers that the addon is built with: in the packed folder, else below the package. */
export function headers() {
  const packed = join(ROOT, 'napi');
  if (existsSync(packed)) return { api: join(packed, 'node-addon-api'), node: join(packed, 'node-api-headers') };
  const require = createRequire(join(CUDA, 'package.json'));
  const folder = (name) => dirname(require.resolve(`${name}/package.json`));
  return { api: folder('node-addon-api'), node: join(folder('node-api-headers'), 'include') };
}

/** Runs a command; its output goes where ours goes. Answers the exit code, null when it did not end in time. */
export function run(command, args, { seconds = 600, env = process.env } = {}) {
  process.stdout.write(`$ ${[command, ...args].join(' ')}\n`);
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', timeout: seconds * 1e3, env });
  if (error) process.stdout.write(`${error.message}\n`);
  return status;
}

/**
 * Builds targets in a folder; answers whether that worked.
 * @param out folder that the addon goes to
 * @param architectures as in `90a`; left out, what CMakeLists.txt says
 */
export function buildCuda({ folder, out, targets, architectures, settings = {} }) {
  const { api, node } = headers();
  const options = {
    ...{ CMAKE_BUILD_TYPE: 'Release', MEGAMOE_NATIVE_KIT: join(ROOT, 'packages', 'native-kit') },
    ...{ MEGAMOE_NODE_ADDON_API: api, MEGAMOE_NODE_API_HEADERS: node, CMAKE_LIBRARY_OUTPUT_DIRECTORY: out },
    ...(architectures && { CMAKE_CUDA_ARCHITECTURES: architectures.map((name) => `${name}-real`).join(';') }),
    ...settings,
  };
  const defined = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  if (run('cmake', ['-S', CUDA, '-B', folder, '-G', 'Ninja', ...defined]) !== 0) return false;
  const jobs = String(Math.min(16, availableParallelism()));
  return run('cmake', ['--build', folder, '-j', jobs, '--target', ...targets], { seconds: 3000 }) === 0;
}

/** How an addon that was built for these says what it has code for. */
export const isaOf = (architectures) => architectures.map((name) => `sm_${name}`).join(' ');
