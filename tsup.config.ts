import { basename } from 'node:path';
import { defineConfig } from 'tsup';

/** The largest packages of pure TypeScript go without spaces; names stay and lines end, so that a stack trace still says where. */
const compact = ['checkpoint', 'reference', 'cli'].includes(basename(process.cwd()));

/** One build for every package: ESM and types, no source maps (the output has names and lines, and maps double a package); run from the package's folder. */
export default defineConfig({
  entry: ['src/index.ts'],
  format: ['esm'],
  target: 'node20',
  dts: true,
  clean: true,
  treeshake: true,
  silent: true,
  esbuildOptions: (options) => {
    if (compact) Object.assign(options, { minifyWhitespace: true, minifySyntax: true, lineLimit: 120 });
  },
});
