import { expect, test } from 'vitest';
import { hitRatio, kmsLatency, rates, readMetrics } from './metrics.js';

const text = (operations: number, failed: number) => `# HELP coffer_operations_total Operations.
# TYPE coffer_operations_total counter
coffer_operations_total{class="phi",operation="getEntry",outcome="ok"} ${operations}
coffer_operations_total{class="none",operation="getEntry",outcome="not_found"} ${failed}
coffer_cache_lookups_total{result="hit"} 30
coffer_cache_lookups_total{result="miss"} 10
coffer_kms_call_duration_seconds_bucket{call="unwrap",le="0.1"} 4
coffer_kms_call_duration_seconds_sum{call="unwrap"} 0.02
coffer_kms_call_duration_seconds_count{call="unwrap"} 4
coffer_kms_calls_total{call="unwrap",outcome="ok"} 3
coffer_kms_calls_total{call="wrap",outcome="kms_denied"} 1
coffer_kms_failing_seconds 0
coffer_integrity_failures_total{class="none"} 3
coffer_integrity_failures_total{class="phi"} 2
coffer_oldest_primary_age_seconds 86400.5
coffer_keysets_overdue 2
coffer_rotation_entries_left 40
coffer_rotation_entries_total{result="kept"} 3
coffer_rotation_entries_total{result="reencrypted"} 7
go_goroutines 12
`;

test('the metrics of the charts are read, and added up over their labels', () => {
  expect(readMetrics(text(100, 4), 7)).toEqual({
    at: 7,
    operations: 104,
    failed: 4,
    hits: 30,
    misses: 10,
    kmsCalls: 4,
    kmsSeconds: 0.02,
    kmsFailing: 0,
    alteredPackages: 2,
    alteredLines: 3,
    oldestPrimary: 86400.5,
    overdue: 2,
    entries: 10,
    entriesLeft: 40,
  });
  expect(readMetrics('nonsense {} 1\n\n', 7)).toMatchObject({
    operations: 0,
    oldestPrimary: null,
    overdue: null,
  });
});

test('rates are per second, and a server that began anew is no negative one', () => {
  const all = [
    readMetrics(text(100, 0), 0),
    readMetrics(text(110, 0), 2000),
    readMetrics(text(3, 0), 4000),
    readMetrics(text(3, 0), 4000),
  ];
  expect(rates(all, ({ operations }) => operations)).toEqual([5, 0, 0]);
  expect(hitRatio(all)).toBe(0.75);
  expect(kmsLatency(all)).toBe(5);
  expect([hitRatio([]), kmsLatency([])]).toEqual([null, null]);
});
