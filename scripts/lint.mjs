// Runs the linters. The output of a check is shown if it fails. `make test` runs the quick ones; `make lint` adds golangci-lint, which takes minutes.
import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';

const wasm = { ...process.env, GOOS: 'js', GOARCH: 'wasm' };
const checks = [
  {
    name: 'gofmt',
    shell: `unformatted=$(git ls-files -z -co --exclude-standard '*.go' | xargs -0 ls -d 2>/dev/null | xargs gofmt -l) && test -z "$unformatted" || { echo "$unformatted"; exit 1; }`,
  },
  { name: 'go vet', shell: 'go vet ./...' },
  { name: 'go vet of the browser core', shell: 'go vet ./wasm', env: wasm },
  { name: 'staticcheck', shell: 'go tool staticcheck ./...' },
  { name: 'tsc', shell: 'npx tsc -p .' },
  { name: 'biome', shell: 'npx biome check' },
];

const golangci = 'go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run';

/** Runs the quick checks, or those given, one after the other at low priority, and calls `done(name, ok)` after each. */
export async function lint(done, all = checks) {
  for (const { name, shell, env } of all) {
    const { error, output } = await new Promise((resolve) => {
      execFile(
        'nice',
        ['bash', '-o', 'pipefail', '-c', shell],
        { env, maxBuffer: 1 << 26 },
        (error, stdout, stderr) => resolve({ error, output: stdout + stderr }),
      );
    });
    if (error) console.log(`${name}:\n${output}`);
    done(name, !error);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const report = (name, ok) => {
    console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}`);
    if (!ok) process.exitCode = 1;
  };
  await lint(report, [...checks, { name: 'golangci-lint', shell: golangci }]);
}
