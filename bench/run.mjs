// `make bench`: measures Coffer against hand-written code in interleaved runs, prints the ratios and budgets, and writes
// results.json. `node bench/run.mjs --engine=firefox` runs the browser's part in another engine.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { allocations, browser, server, sizes } from './budgets.mjs';
import { buildBrowser, built, dist, root } from './build.mjs';
import { printTable } from './report.mjs';
import { measureServer } from './server.mjs';
import { measureSizes } from './sizes.mjs';

const { values: options } = parseArgs({
  options: { engine: { type: 'string', default: 'chromium' } },
});
const results = [];

/** `detail` is for the table only. */
function add(name, spec, ratio, detail = '') {
  results.push({ name, ratio: Math.round(ratio * 1000) / 1000, ...spec, detail });
}

async function browserPart() {
  const { measureBrowser } = await buildBrowser();
  for (const [name, kb] of Object.entries(measureSizes(dist))) add(name, sizes[name], kb);
  const found = await measureBrowser(options.engine, dist, built);
  for (const [name, spec] of Object.entries(browser)) {
    const { ratio, ours, byHand } = found[name];
    add(
      `browser ${name}`,
      spec,
      spec.higher_is_better ? 1 / ratio : ratio,
      `${ours.toPrecision(3)} ms, by hand ${byHand.toPrecision(3)} ms`,
    );
  }
}

function serverPart() {
  const found = measureServer(root);
  for (const [name, spec] of Object.entries(server)) {
    const {
      ratio,
      'ours-ns/op': ours,
      'raw-ns/op': raw,
      'attacked-ms': attacked,
      'quiet-ms': quiet,
    } = found[name];
    const times = attacked
      ? `${attacked.toPrecision(3)} ms, quiet ${quiet.toPrecision(3)} ms`
      : `${(ours / 1000).toPrecision(3)} us, raw ${(raw / 1000).toPrecision(3)} us`;
    add(`server ${name}`, spec, ratio, times);
  }
  for (const call of ['Seal', 'Open']) {
    const counts = Object.entries(found)
      .filter(([name]) => name.startsWith(call))
      .map(([, metrics]) => metrics.allocations);
    add(`server ${call} allocations`, allocations, Math.max(...counts));
  }
}

const start = performance.now();
await browserPart();
serverPart();
printTable(results);
console.log(`browser: ${options.engine}; ${Math.round((performance.now() - start) / 1000)} s`);
const written = results.map(({ name, ratio, budget, higher_is_better, unit }) => ({
  name,
  ratio,
  budget,
  higher_is_better,
  unit,
}));
writeFileSync(join(root, 'bench/results.json'), `${JSON.stringify(written, null, 2)}\n`);
