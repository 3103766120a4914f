import type { Problem } from '../../problem.js';
import { type Snapshot, hitRatio, kmsLatency, rates } from '../../operator/metrics.js';
import { PanelNote } from './PanelNote.js';
import { Spark } from './Spark.js';

/** How many snapshots a chart shows. */
export const MOST = 60;

const two = (n: number) => (n > 0 && n < 0.05 ? '< 0.1' : n < 10 ? n.toFixed(1) : Math.round(n).toString());

/** What the server does now, and whether the KMS answers. */
export function HealthPanel({ snapshots, problem }: { snapshots: readonly Snapshot[]; problem: Problem | null }) {
  const last = snapshots.at(-1);
  const operations = rates(snapshots, (s) => s.operations);
  const reads = rates(snapshots, (s) => s.hits + s.misses);
  const calls = rates(snapshots, (s) => s.kmsCalls);
  const entries = rates(snapshots, (s) => s.entries);
  const [ratio, latency] = [hitRatio(snapshots), kmsLatency(snapshots)];
  return (
    <section className="card health" aria-labelledby="health-title">
      <header className="pane-head">
        <h2 id="health-title">The server now</h2>
        {last && (
          <p className={last.kmsFailing > 0 ? 'server-status offline' : 'server-status ready'} role="status">
            <span className="dot" aria-hidden="true" />
            {last.kmsFailing > 0 ? `KMS: no answer for ${Math.round(last.kmsFailing)} s, keys in memory serve on` : 'KMS: answering'}
          </p>
        )}
      </header>
      <PanelNote problem={problem} scope="audit:read" />
      {last && (
        <div className="sparks">
          <Spark label="Operations a second" value={two(operations.at(-1) ?? 0)} points={operations} most={MOST} />
          <Spark label="Reads a second" value={ratio === null ? '–' : `${Math.round(ratio * 100)} % hits`} points={reads} most={MOST} />
          <Spark label="KMS calls a second" value={latency === null ? '–' : `${two(latency)} ms each`} points={calls} most={MOST} />
          <Spark label="Rotated a second" value={last.entriesLeft > 0 ? `${last.entriesLeft} left` : two(entries.at(-1) ?? 0)} points={entries} most={MOST} />
        </div>
      )}
      {last && last.integrityFailures > 0 && <p className="verdict wrong">{last.integrityFailures} packages did not pass their authentication: look for critical events below.</p>}
    </section>
  );
}
