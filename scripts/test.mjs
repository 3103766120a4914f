// Runs every test, and the linters beside those in browsers, and says at the end how many ran where. Fails if any failed, or if a place ran none.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { lint } from './lint.mjs';

/** Is in every secret that the Go tests plant: what they print must not have it, unless it says how a test failed. */
const marker = 'pl4nted';
const report = 'build/vitest.json';
const counts = new Map(['Go', 'Node', 'chromium', 'firefox', 'webkit', 'Lint'].map((place) => [place, { passed: 0, failed: 0, skipped: 0 }]));
const failures = [];

function count(place, outcome, name) {
  counts.get(place)[outcome]++;
  if (outcome === 'failed') failures.push(`${place}: ${name}`);
}

/** Runs a command; `line` gets its output's lines, without it they are shown. */
function run(command, args, line) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', line ? 'pipe' : 'inherit', 'inherit'] });
    let rest = '';
    child.stdout?.on('data', (data) => {
      const lines = (rest + data).split('\n');
      rest = lines.pop();
      for (const l of lines) line(l);
    });
    child.on('close', (code) => resolve(code === 0));
  });
}

/** Runs the Go tests; a package's output is shown only if it fails. */
async function goTests() {
  const output = new Map();
  const planted = new Set();
  let ok = true;
  // More at once than there are processors: most tests wait, for the disk, for processes, for time.
  const passed = await run('go', ['test', '-json', '-race', '-p', '3', '-parallel', '6', '-timeout', '10m', './...'], (line) => {
    const event = parse(line);
    if (!event) return console.log(line);
    const outcome = { pass: 'passed', fail: 'failed', skip: 'skipped' }[event.Action];
    if (event.Output) output.set(event.Package, (output.get(event.Package) ?? '') + event.Output);
    const name = `${event.Package} ${event.Test}`;
    if (event.Output?.includes(marker)) planted.add(name);
    if (outcome && event.Test) count('Go', outcome, name);
    if (outcome === 'passed' && planted.has(name)) count('Go', 'failed', `${name}: its output has a planted secret`);
    if (!outcome || event.Test) return;
    if (outcome === 'failed') {
      ok = false;
      console.log(output.get(event.Package));
    } else console.log(`${outcome === 'passed' ? 'ok  ' : '-   '} ${event.Package} ${event.Elapsed?.toFixed(1) ?? 0}s`);
  });
  return passed && ok;
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Runs the TypeScript tests. A test says by its name which browser it ran in. */
async function vitest() {
  const ok = await run('npx', ['vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`]);
  for (const file of JSON.parse(readFileSync(report, 'utf8')).testResults) {
    if (file.status === 'failed' && file.assertionResults.length === 0) count('Node', 'failed', file.name);
    for (const t of file.assertionResults) {
      const place = /\b(chromium|firefox|webkit)\b/.exec(t.fullName)?.[1] ?? 'Node';
      count(place, { passed: 'passed', failed: 'failed' }[t.status] ?? 'skipped', t.fullName);
    }
  }
  return ok;
}

mkdirSync('build', { recursive: true });
rmSync(report, { force: true });
const go = await goTests();
const linted = lint((name, ok) => count('Lint', ok ? 'passed' : 'failed', name));
const results = [go, await vitest()];
await linted;
let [passed, failed, skipped] = [0, 0, 0];
console.log('\nTests by where they ran:');
for (const [place, c] of counts) {
  console.log(`  ${place.padEnd(9)} ${c.passed} passed, ${c.failed} failed, ${c.skipped} skipped`);
  passed += c.passed;
  failed += c.failed;
  skipped += c.skipped;
  if (c.passed === 0) failures.push(`${place} ran no test`);
}
for (const failure of failures) console.log(`FAILED ${failure}`);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(results.every(Boolean) && failures.length === 0 ? 0 : 1);
