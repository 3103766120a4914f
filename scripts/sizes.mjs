// Prints the sizes of the WebAssembly core. Fails if the core exceeds its budget.
import { readFileSync } from 'node:fs';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const BUDGET = 470_000; // bytes, brotli
const core = readFileSync(new URL('../web/dist/coffer.wasm', import.meta.url));
const brotli = brotliCompressSync(core, {
  params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: core.length },
});
const kb = (n) => `${(n / 1000).toFixed(1)} KB`;
console.log(
  `coffer.wasm: ${kb(core.length)} raw, ${kb(gzipSync(core, { level: 9 }).length)} gzip, ${kb(brotli.length)} brotli (budget ${kb(BUDGET)})`,
);
if (brotli.length > BUDGET) {
  console.error('coffer.wasm exceeds its budget');
  process.exit(1);
}
