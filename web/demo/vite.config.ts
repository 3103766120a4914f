import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';
import { cleanDist, precompress } from './build-plugins.js';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Builds the demo from the built package (web/dist), so that the demo tests the package. */
export default defineConfig({
  root: here('.'),
  base: './',
  plugins: [react(), cleanDist(), precompress()],
  resolve: {
    alias: [
      { find: /^@coffer-storage\/coffer$/, replacement: here('../dist/index.js') },
      { find: /^@coffer-storage\/coffer\/react$/, replacement: here('../dist/react/index.js') },
      { find: /^@coffer-storage\/coffer\/client$/, replacement: here('../dist/client/index.js') },
    ],
    dedupe: ['react', 'react-dom'],
  },
  build: {
    target: 'es2022',
    emptyOutDir: false, // dist/.keep is in the repository; cleanDist removes the rest
    assetsInlineLimit: 0, // the content security policy forbids fetching data: URLs
    chunkSizeWarningLimit: 400,
    license: { fileName: 'licenses.txt' },
    rolldownOptions: { checks: { pluginTimings: false } }, // precompression is slow
  },
});
