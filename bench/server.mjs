// Runs the Go benchmarks of bench/server and bench/faults, one package after the other, and reads the metrics that they report.
import { execFileSync } from 'node:child_process';

/** { 'Seal/1KiB': { ratio, 'ours-ns/op', 'raw-ns/op', allocations } } */
export function measureServer(root) {
  const args = [
    'test',
    '-p',
    '1',
    './bench/server',
    './bench/faults',
    '-run',
    '^$',
    '-bench',
    '.',
    '-benchtime',
    '1x',
  ];
  const output = execFileSync('go', args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const found = {};
  for (const [, name, metrics] of output.matchAll(/^Benchmark(\S+?)(?:-\d+)?\s+1\s+(.*)$/gm)) {
    const pairs = metrics
      .trim()
      .split(/\t/)
      .map((pair) => pair.trim().split(' '));
    found[name] = Object.fromEntries(pairs.map(([value, unit]) => [unit, Number(value)]));
  }
  return found;
}
