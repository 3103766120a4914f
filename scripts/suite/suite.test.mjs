import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { GoTests } from './gotest.mjs';
import { MARK, run } from './processes.mjs';
import { Results } from './results.mjs';
import { scratch } from './scratch.mjs';
import { countVitest } from './vitest.mjs';

const PACKAGE = 'github.com/coffer-storage/coffer/scripts/suite/testdata/';

/** Runs the Go tests of folders of testdata. Returns the summary and the complete output. */
async function tested(...folders) {
  const results = new Results(['Go']);
  const printed = [];
  const tests = new GoTests(results, (text) => printed.push(text));
  const packages = folders.map((folder) => `./scripts/suite/testdata/${folder}`);
  const { status, left } = await run(
    'go',
    ['test', '-json', '-count=1', '-timeout', '3s', ...packages],
    { line: (line) => tests.line(line), grace: 2000 },
  );
  tests.end(status);
  return {
    summary: results.summary(),
    failures: results.failures,
    printed: printed.join('\n'),
    left,
    status,
  };
}

test('tests that pass and that are skipped are counted, and their output is not shown', async () => {
  const { summary, failures, printed, left } = await tested('passes');
  expect(failures).toEqual([]);
  expect(summary.at(-1)).toBe('1 passed, 0 failed, 1 skipped');
  expect(printed).toMatch(/^ok {3}\S+passes \d/);
  expect(left).toEqual([]);
});

test.each([
  [
    'panics',
    'panics',
    1,
    /panics: panic: planned; without a result: TestPanics\n[^]*panics_test\.go:9/,
  ],
  [
    'exceeds its time limit',
    'slow',
    1,
    /slow: panic: test timed out after 3s; without a result: TestSlow\n[^]*slow_test\.go/,
  ],
  ['does not build', 'broken', 0, /broken: the package does not build\n[^]*undefined: undefined/],
  [
    'exits before its tests',
    'exits',
    0,
    /exits: the package ended without the failure of a test\n +there is nothing to test with/,
  ],
])(
  'a package that %s is counted and named, with the end of its output',
  async (_, folder, passed, says) => {
    const { summary, failures, printed } = await tested(folder);
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatch(says);
    expect(failures[0].split('\n').length).toBeLessThan(40);
    expect(summary.at(-1)).toBe(`${passed} passed, 1 failed, 0 skipped`);
    expect(printed).toContain('FAIL');
  },
);

test('a failure does not hide the package that dies beside it', async () => {
  const { failures } = await tested('planted', 'exits', 'passes');
  expect(failures).toHaveLength(3);
  expect(failures).toEqual(
    expect.arrayContaining([
      expect.stringContaining('exits: the package ended without'),
      `Go: ${PACKAGE}planted TestPrints: its output has a planted secret`,
      `Go: ${PACKAGE}planted TestFails`,
    ]),
  );
});

test('a process that a test leaves is ended and named', async () => {
  const { failures, left } = await tested('orphan');
  expect(failures).toEqual([]);
  expect(left).toEqual([expect.stringMatching(/^\d+ sleep 1000$/)]);
  const pid = left[0].split(' ')[0];
  await expect.poll(() => state(pid), { timeout: 60_000 }).toMatch(/^(gone|Z)$/);
});

test('a process that left the session is found by its mark', async () => {
  const untilItSleeps = 'until grep -q sleep /proc/$!/comm; do sleep 0.01; done';
  const { left, status } = await run('sh', ['-c', `setsid sleep 1000 & ${untilItSleeps}; exit 3`], {
    grace: 500,
  });
  expect(left).toEqual([expect.stringMatching(/^\d+ sleep 1000$/)]);
  expect(status).toBe(3);
});

test('a process that shows its mark late is found', async () => {
  // Without an environment, as every process is during exec.
  const script = `mark=$${MARK}; setsid env -i ${MARK}_LATE=$mark sh -c 'sleep 0.05; ${MARK}=$${MARK}_LATE exec sleep 1000' & until ! grep -qz ^${MARK}= /proc/$!/environ; do sleep 0.005; done; exit 3`;
  const { left } = await run('sh', ['-c', script], { grace: 1000 });
  expect(left).toEqual([expect.stringMatching(/^\d+ sleep 1000$/)]);
});

test('what a killed runner started is ended', async () => {
  const module = JSON.stringify(new URL('processes.mjs', import.meta.url).href);
  const script = `import { run } from ${module}; await run('sh', ['-c', 'sleep 1000 & echo $!; wait'], { line: console.log });`;
  const runner = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [pid] = await once(createInterface({ input: runner.stdout }), 'line');
  expect(state(pid)).toMatch(/[SR]/);
  runner.kill('SIGKILL');
  await expect.poll(() => state(pid), { timeout: 60_000 }).toMatch(/^(gone|Z)$/);
});

test('a command that ends without a word is a failure', async () => {
  const results = new Results(['Go']);
  const tests = new GoTests(results, () => {});
  tests.line(JSON.stringify({ Action: 'start', Package: 'p' }));
  tests.line(JSON.stringify({ Action: 'run', Package: 'p', Test: 'TestX' }));
  tests.end('SIGKILL');
  expect(results.failures).toEqual(['Go: p: the package has no result; without a result: TestX']);
  const silent = new Results(['Go']);
  new GoTests(silent, () => {}).end(2);
  expect(silent.failures).toEqual(['Go: go test ended with 2 and named no failure']);
  expect(silent.summary().at(-1)).toBe('0 passed, 1 failed, 0 skipped');
});

test('a report of vitest is counted by browser, and a death without a failure is one', () => {
  const results = new Results(['Node', 'chromium', 'firefox', 'webkit']);
  const files = [
    { name: 'a', status: 'failed', message: 'cannot be imported', assertionResults: [] },
    {
      name: 'b',
      status: 'passed',
      assertionResults: [
        { status: 'passed', fullName: 'x in firefox' },
        { status: 'pending', fullName: 'y' },
        { status: 'failed', fullName: 'z in chromium' },
      ],
    },
  ];
  countVitest(results, { testResults: files }, 1);
  expect(results.failures).toEqual(['Node: a\n    cannot be imported', 'chromium: z in chromium']);
  expect(results.summary()).toContain('FAILED webkit: ran no test');
  const died = new Results(['Node']);
  countVitest(died, undefined, 'SIGSEGV');
  expect(died.failures).toEqual(['Node: vitest ended with SIGSEGV and named no failure']);
});

/** Returns the state of a process in /proc, or 'gone'. */
function state(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)[0];
  } catch {
    return 'gone';
  }
}

test('the folder for what tests write', () => {
  const files = scratch();
  expect(existsSync(files.dir)).toBe(true);
  files.remove();
  expect(existsSync(files.dir)).toBe(false);
});
