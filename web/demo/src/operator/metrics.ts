/** Reads the figures of the operator's charts from the server's Prometheus metrics. */

/** The metrics at one moment. Counters start at 0 when the server starts. */
export interface Snapshot {
  /** Milliseconds since 1970. */
  at: number;
  operations: number;
  failed: number;
  hits: number;
  misses: number;
  kmsCalls: number;
  /** The total duration of all KMS calls in seconds. */
  kmsSeconds: number;
  /** How long the KMS has been failing, in seconds; 0 if it does not fail. */
  kmsFailing: number;
  /** Packages whose authentication failed. */
  alteredPackages: number;
  /** Missing or altered lines of the audit log. */
  alteredLines: number;
  /** The age of the oldest primary key in seconds; `null` if it is not known yet, or keys have no age. */
  oldestPrimary: number | null;
  /** Tenants with overdue keysets; `null` if not known yet. */
  overdue: number | null;
  /** Entries that the sweep has visited, and has not visited yet. */
  entries: number;
  entriesLeft: number;
}

/** A line of the text format: `name{label="value"} number`. */
const line = /^(\w+)(?:\{([^}]*)\})? (\S+)$/;

/** Parses the metrics that the charts need and ignores all others. */
export function readMetrics(text: string, at: number): Snapshot {
  const sums = new Map<string, number>();
  let [failed, lines] = [0, 0];
  for (const one of text.split('\n')) {
    const [, name = '', labels = '', value = ''] = line.exec(one) ?? [];
    if (!name.startsWith('coffer_') || name.endsWith('_bucket')) continue;
    const result = /result="(\w+)"/.exec(labels)?.[1];
    for (const key of result ? [name, `${name}:${result}`] : [name])
      sums.set(key, (sums.get(key) ?? 0) + Number(value));
    if (name === 'coffer_operations_total' && !labels.includes('outcome="ok"'))
      failed += Number(value);
    if (name === 'coffer_integrity_failures_total' && labels === 'class="none"')
      lines += Number(value);
  }
  const sum = (name: string) => sums.get(`coffer_${name}`) ?? 0;
  return {
    at,
    failed,
    operations: sum('operations_total'),
    hits: sum('cache_lookups_total:hit'),
    misses: sum('cache_lookups_total:miss'),
    kmsCalls: sum('kms_calls_total'),
    kmsSeconds: sum('kms_call_duration_seconds_sum'),
    kmsFailing: sum('kms_failing_seconds'),
    alteredPackages: sum('integrity_failures_total') - lines,
    alteredLines: lines,
    oldestPrimary: sums.get('coffer_oldest_primary_age_seconds') ?? null,
    overdue: sums.get('coffer_keysets_overdue') ?? null,
    entries: sum('rotation_entries_total'),
    entriesLeft: sum('rotation_entries_left'),
  };
}

/** The difference between each snapshot and the one before; after a restart of the server, the value itself. */
export function rates(
  snapshots: readonly Snapshot[],
  of: (snapshot: Snapshot) => number,
): number[] {
  return snapshots.slice(1).map((now, i) => {
    const before = snapshots[i] ?? now;
    const seconds = (now.at - before.at) / 1000;
    return seconds > 0 ? Math.max(0, of(now) - of(before)) / seconds : 0;
  });
}

/** The share of cache hits over all snapshots; `null` without reads. */
export function hitRatio(snapshots: readonly Snapshot[]): number | null {
  const last = snapshots.at(-1);
  const reads = (last?.hits ?? 0) + (last?.misses ?? 0);
  return last && reads > 0 ? last.hits / reads : null;
}

/** The average duration of a KMS call since the server started, in milliseconds; `null` without calls. */
export function kmsLatency(snapshots: readonly Snapshot[]): number | null {
  const last = snapshots.at(-1);
  return last && last.kmsCalls > 0 ? (last.kmsSeconds / last.kmsCalls) * 1000 : null;
}
