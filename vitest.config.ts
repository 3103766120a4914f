import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['web/**/*.test.{ts,tsx}', 'e2e/**/*.test.ts', 'scripts/**/*.test.mjs'],
    exclude: ['**/node_modules/**', 'web/dist/**'],
    // Long, because CI machines are shared.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Browsers are heavy: one file for each processor of a small machine.
    maxWorkers: 2,
  },
});
