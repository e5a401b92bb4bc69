import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** A worker that was put together for a test. */
export interface BundledWorker {
  /** `worker.mjs` in a folder of its own. */
  readonly url: URL;
  readonly folder: string;
  /** Removes the folder. */
  remove(): void;
}

/** What runs in a thread, put together with all that it imports: a worker is JavaScript, and tests run on sources. `entry` is a source file. */
export async function bundleWorker(entry: string): Promise<BundledWorker> {
  const { build } = await import('tsup'); // takes time that only these tests need
  const folder = mkdtempSync(join(tmpdir(), 'megamoe-worker-'));
  await build({
    entry: { worker: entry },
    outDir: folder,
    format: 'esm',
    outExtension: () => ({ js: '.mjs' }),
    noExternal: [/.*/],
    config: false,
    silent: true,
    banner: { js: "import { createRequire as r } from 'node:module'; const require = r(import.meta.url);" },
    esbuildOptions: (o) => void (o.conditions = ['@megamoe/source']),
  });
  return {
    url: pathToFileURL(join(folder, 'worker.mjs')),
    folder,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
