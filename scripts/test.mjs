// Runs every test and the linters, and reports how many tests ran in each environment. Fails if a test failed, if a package or
// program crashed or left a process behind, or if an environment ran no test. Usage: node scripts/test.mjs [go | browsers]
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { lint } from './lint.mjs';
import { GoTests } from './suite/gotest.mjs';
import { run } from './suite/processes.mjs';
import { Results } from './suite/results.mjs';
import { scratch } from './suite/scratch.mjs';
import { countVitest } from './suite/vitest.mjs';

const REPORT = 'build/vitest.json';
/** Packages without goroutines, or tested in another process: the race detector would find nothing there and slow the tests. */
const SEQUENTIAL =
  /^[^/]+\/[^/]+\/[^/]+\/(?:shared|wasm|e2e|scripts|internal\/(?:claims|fuzztest|importrules|proctest|redistest))(?:\/|$)/;
/** SQLite, which is translated C, is not instrumented for the race detector: that would take five times as long. */
const TRANSLATED = '-gcflags=github.com/ncruces/go-sqlite3-wasm/...=-race=false';
/** The slowest packages start first, so that none of them runs alone at the end. */
const SLOWEST = [
  'cmd/server',
  'internal/api',
  'internal/rotation',
  'server/kv/sqlitekv',
  'server/seal',
  'server/kv/rediskv',
  'internal/recovery',
  'bench/faults',
];
/** The time limit of one package. It is long, because the machine may be busy. */
const LIMIT = '20m';

const parts = process.argv.length > 2 ? process.argv.slice(2) : ['go', 'browsers'];
const places = { go: ['Go'], browsers: ['Node', 'chromium', 'firefox', 'webkit', 'Lint'] };
const results = new Results(parts.flatMap((part) => places[part]));

/** The flags of scripts/build.sh, so that the binary, vet, staticcheck and the tests share compiled packages. The race detector needs cgo. */
Object.assign(process.env, { GOFLAGS: '-trimpath', CGO_ENABLED: '0' });

/** Runs a part of the tests. Reports its duration and the processes that it left behind. */
async function timed(name, place, command, args, options) {
  const begun = Date.now();
  const { status, left } = await run(command, args, options);
  for (const process of left)
    results.count(place, 'failed', `${name} left a process behind: ${process}`);
  console.log(`${name}: ${((Date.now() - begun) / 1000).toFixed(0)} s`);
  return status;
}

/** The linters vet all packages, so go test need not. */
async function goTests(name, packages, env, ...flags) {
  const tests = new GoTests(results, console.log);
  const args = ['test', '-json', '-vet=off', '-timeout', LIMIT, ...flags, ...packages];
  tests.end(await timed(name, 'Go', 'go', args, { env, line: (line) => tests.line(line) }));
}

async function go() {
  const rank = (path) =>
    SLOWEST.findIndex((slow) => path.endsWith(`/${slow}`)) + 1 || SLOWEST.length + 1;
  const packages = execFileSync('go', ['list', '-e', './...'], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .sort((a, b) => rank(a) - rank(b));
  // More packages at once than processors, because most of these tests wait for disks, processes or timers.
  await goTests(
    'Go tests with the race detector',
    packages.filter((path) => !SEQUENTIAL.test(path)),
    { CGO_ENABLED: '1' },
    '-race',
    TRANSLATED,
    '-p',
    '3',
    '-parallel',
    '6',
  );
  await goTests(
    'Go tests of sequential code',
    packages.filter((path) => SEQUENTIAL.test(path)),
    {},
    '-p',
    '2',
  );
}

async function browsers() {
  const linted = lint((name, ok) => results.count('Lint', ok ? 'passed' : 'failed', name));
  const status = await timed('TypeScript tests', 'Node', 'npx', [
    'vitest',
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${REPORT}`,
  ]);
  countVitest(results, report(), status);
  await linted;
}

function report() {
  try {
    return JSON.parse(readFileSync(REPORT, 'utf8'));
  } catch {
    return undefined; // vitest crashed before it wrote a report
  }
}

mkdirSync('build', { recursive: true });
rmSync(REPORT, { force: true });
const files = scratch();
Object.assign(process.env, { GOTMPDIR: tmpdir(), TMPDIR: files.dir }); // keep linked programs on the disk
process.on('exit', files.remove);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));
if (parts.includes('go')) await go();
if (parts.includes('browsers')) await browsers();
console.log(`\n${results.summary().join('\n')}`);
process.exit(results.failures.length === 0 ? 0 : 1);
