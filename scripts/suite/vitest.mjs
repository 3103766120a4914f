// Reads the JSON report of vitest.

/** Counts the tests of a report, which is undefined if vitest wrote none. The name of a test contains its browser. */
export function countVitest(results, report, status) {
  let failed = false;
  const count = (place, outcome, name, detail) => {
    failed ||= outcome === 'failed';
    results.count(place, outcome, name, detail);
  };
  for (const file of report?.testResults ?? []) {
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'))
      count('Node', 'failed', file.name, file.message);
    for (const test of file.assertionResults) {
      const place = /\b(chromium|firefox|webkit)\b/.exec(test.fullName)?.[1] ?? 'Node';
      count(place, { passed: 'passed', failed: 'failed' }[test.status] ?? 'skipped', test.fullName);
    }
  }
  if (status !== 0 && !failed)
    count('Node', 'failed', `vitest ended with ${status} and named no failure`);
}
