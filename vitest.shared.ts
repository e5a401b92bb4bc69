import { defineConfig, mergeConfig, type ViteUserConfig } from 'vitest/config';

const include = ['test/**/*.test.ts'];

/** Tests run against `src`, through the `@megamoe/source` condition: nothing has to be built first. */
const shared = defineConfig({
  resolve: { conditions: ['@megamoe/source'] },
  ssr: { resolve: { conditions: ['@megamoe/source'] } },
  test: {
    environment: 'node',
    pool: 'forks',
    maxWorkers: 1,
    // Ends what hangs; no measure of speed: a machine that is slow and busy needs ten times as long as a quiet one.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    passWithNoTests: false,
    allowOnly: false,
  },
});

export default mergeConfig(shared, defineConfig({ test: { include } }));

/** For packages whose test files replace no modules: sources are imported once for all of them. */
export const together = mergeConfig(shared, defineConfig({ test: { include, isolate: false } }));

/** The same for all test files of a package but these, which replace modules, or what all share. */
export function togetherBut(apart: readonly string[]): ViteUserConfig {
  const projects = [
    { extends: true as const, test: { name: 'together', isolate: false, include, exclude: [...apart] } },
    { extends: true as const, test: { name: 'apart', include: [...apart] } },
  ];
  return mergeConfig(shared, defineConfig({ test: { projects } }));
}
