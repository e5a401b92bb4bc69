import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { defineConfig } from 'tsup';

/** The largest packages of pure TypeScript go without spaces; names stay and lines end, so that a stack trace still says where. */
const compact = ['checkpoint', 'reference', 'cli'].includes(basename(process.cwd()));

const WORKERS = ['src/engine-worker.ts', 'src/tokenizer-worker.ts'];

/** One build for every package: ESM and types, no source maps (the output has names and lines, and maps double a package); run from the package's folder. */
export default defineConfig({
  entry: ['src/index.ts', ...WORKERS.filter((file) => existsSync(file))], // what runs in a worker is a file of its own
  format: ['esm'],
  target: 'node20',
  dts: { entry: 'src/index.ts' },
  clean: true,
  treeshake: true,
  silent: true,
  esbuildOptions: (options) => {
    if (compact) Object.assign(options, { minifyWhitespace: true, minifySyntax: true, lineLimit: 120 });
  },
});
