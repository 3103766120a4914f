/** What the operator's charts show, out of the server's Prometheus metrics. */

/** What the metrics said at one moment; counters since the server began. */
export interface Snapshot {
  /** Milliseconds since 1970. */
  at: number;
  operations: number;
  failed: number;
  hits: number;
  misses: number;
  kmsCalls: number;
  /** Seconds that the calls of the KMS took together. */
  kmsSeconds: number;
  /** Seconds since when the KMS fails; 0 where it does not. */
  kmsFailing: number;
  /** Packages that did not pass their authentication. */
  alteredPackages: number;
  /** Lines of the audit log that are missing or are not as they were written. */
  alteredLines: number;
  /** Seconds of age of the oldest primary key; `null` where the server has not looked yet, or there is none. */
  oldestPrimary: number | null;
  /** Keysets that were to get a new primary and did not; `null` where the server has not looked yet. */
  overdue: number | null;
  /** Entries that rotations went through, and have yet to go through. */
  entries: number;
  entriesLeft: number;
}

/** A line of the text format: `name{label="value"} number`. */
const line = /^(\w+)(?:\{([^}]*)\})? (\S+)$/;

/** Reads the metrics that the charts need. Lines that it does not know are passed over. */
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

/** What happened between two moments, for each pair of neighbours; a server that began anew counts from nothing. */
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

/** The share of reads of the cache that found something, over all snapshots; `null` where nothing was read. */
export function hitRatio(snapshots: readonly Snapshot[]): number | null {
  const last = snapshots.at(-1);
  const reads = (last?.hits ?? 0) + (last?.misses ?? 0);
  return last && reads > 0 ? last.hits / reads : null;
}

/** Milliseconds that a call of the KMS took on average, since the server began; `null` where there was none. */
export function kmsLatency(snapshots: readonly Snapshot[]): number | null {
  const last = snapshots.at(-1);
  return last && last.kmsCalls > 0 ? (last.kmsSeconds / last.kmsCalls) * 1000 : null;
}
