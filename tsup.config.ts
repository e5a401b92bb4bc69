import { defineConfig } from 'tsup';

/** One build for every package: ESM, types, source maps; run from the package's folder. */
export default defineConfig({
  entry: ['src/index.ts'],
  format: ['esm'],
  target: 'node20',
  dts: true,
  sourcemap: true,
  clean: true,
  treeshake: true,
  silent: true,
});
