import { defineConfig, mergeConfig } from 'vitest/config';

/** Tests run against `src`, through the `@megamoe/source` condition: nothing has to be built first. */
const config = defineConfig({
  resolve: { conditions: ['@megamoe/source'] },
  ssr: { resolve: { conditions: ['@megamoe/source'] } },
  test: {
    include: ['test/**/*.test.ts'],
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

export default config;

/** For packages whose test files replace no modules: sources are imported once for all of them. */
export const together = mergeConfig(config, defineConfig({ test: { isolate: false } }));
