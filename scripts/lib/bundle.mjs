import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'tsup';

/** The largest packages of pure TypeScript, and those that bring zod, go without spaces; names stay and lines end, so that a stack trace still says where. */
const COMPACT = ['checkpoint', 'reference', 'cli', 'server'];

/** What is a file of its own besides the package: programs, and what runs in a worker. */
const ENTRIES = [
  'src/index.ts',
  'src/main.ts',
  'src/command-worker.ts',
  'src/engine-worker.ts',
  'src/tokenizer-worker.ts',
];

/**
 * Puts a package's JavaScript together in its `dist`: ESM, no source maps (the output has names and lines, and maps double a package).
 * Declarations that are there stay.
 */
export async function bundlePackage(dir) {
  const before = process.cwd();
  process.chdir(dir); // where tsup looks for the manifest, which says what stays outside
  try {
    await build({
      config: false,
      entry: ENTRIES.filter((file) => existsSync(join(dir, file))),
      format: ['esm'],
      target: 'node20',
      clean: ['!**/*.d.ts'],
      treeshake: true,
      silent: true,
      esbuildOptions: (options) => {
        options.absWorkingDir = dir; // one service of esbuild serves all packages
        if (COMPACT.includes(basename(dir)))
          Object.assign(options, { minifyWhitespace: true, minifySyntax: true, lineLimit: 120 });
      },
    });
  } finally {
    process.chdir(before);
  }
}
