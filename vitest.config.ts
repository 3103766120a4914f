import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['web/**/*.test.{ts,tsx}', 'e2e/**/*.test.ts', 'scripts/**/*.test.mjs'],
    exclude: ['**/node_modules/**', 'web/dist/**'],
    // For machines that others keep busy; a test that hangs is rare.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // As many files at once as a small machine has processors: browsers are heavy.
    maxWorkers: 2,
  },
});
