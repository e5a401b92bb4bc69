import { defineConfig } from 'vitest/config';

/** Tests run against `src`, through the `@megamoe/source` condition: nothing has to be built first. */
export default defineConfig({
  resolve: { conditions: ['@megamoe/source'] },
  ssr: { resolve: { conditions: ['@megamoe/source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    pool: 'forks',
    poolOptions: { forks: { maxForks: 1 } },
    testTimeout: 120_000,
    hookTimeout: 120_000,
    passWithNoTests: false,
    allowOnly: false,
  },
});
