import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'tsup';

/** What runs in the tokenizer's thread, put together from sources as tests have them. */
export async function buildTokenizerWorker(): Promise<{ readonly url: URL; readonly remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'megamoe-tokenizer-'));
  await build({
    entry: { worker: 'src/tokenizer-worker.ts' },
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
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
