import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['web/**/*.test.{ts,tsx}', 'e2e/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'web/dist/**'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Browsers are heavy: one file at a time, so that none starves another.
    fileParallelism: false,
  },
});
