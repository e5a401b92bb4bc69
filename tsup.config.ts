import { defineConfig } from 'tsup';

/** One build for every package: ESM and types, no source maps (the output is readable, and maps double a package); run from the package's folder. */
export default defineConfig({
  entry: ['src/index.ts'],
  format: ['esm'],
  target: 'node20',
  dts: true,
  clean: true,
  treeshake: true,
  silent: true,
});
