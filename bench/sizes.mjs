// The sizes of the shipped package as a browser fetches it, compressed by brotli at its best.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';

/** KB (1,000 bytes) by the names of budgets.mjs. The face is all JavaScript except Go's own loader. */
export function measureSizes(dist) {
  return {
    'core module': brotli(join(dist, 'coffer.wasm')),
    'TypeScript face': brotli(join(dist, 'index.js')) + brotli(join(dist, 'react/index.js')),
  };
}

function brotli(path) {
  const bytes = readFileSync(path);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 11,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  return brotliCompressSync(bytes, { params }).length / 1000;
}
