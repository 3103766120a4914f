import type { Health } from '@coffer-storage/coffer/client';
import type { Problem } from '../../problem.js';
import { type Snapshot, hitRatio, kmsLatency, rates } from '../../operator/metrics.js';
import type { Loaded } from '../useLoaded.js';
import { PanelNote } from './PanelNote.js';
import { Spark } from './Spark.js';
import { Status } from './Status.js';

/** The number of snapshots in a chart. */
export const MOST = 60;

const two = (n: number) =>
  n > 0 && n < 0.05 ? '< 0.1' : n < 10 ? n.toFixed(1) : Math.round(n).toString();

interface Props {
  snapshots: readonly Snapshot[];
  /** The reason if the last load failed. */
  problem: Problem | null;
  /** The server's readiness. */
  ready: Loaded<Health>;
}

/** The current load of the server, and the health of the server and the KMS. */
export function HealthPanel({ snapshots, problem, ready }: Props) {
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
        <div className="statuses">
          <Readiness ready={ready} />
          {last && (
            <Status well={last.kmsFailing === 0}>
              {last.kmsFailing > 0
                ? `KMS: no answer for ${Math.round(last.kmsFailing)} s, keys in memory serve on`
                : 'KMS: answering'}
            </Status>
          )}
        </div>
      </header>
      <PanelNote problem={problem} scope="metrics:read" />
      {last && (
        <div className="sparks">
          <Spark
            label="Operations a second"
            value={two(operations.at(-1) ?? 0)}
            points={operations}
          />
          <Spark
            label="Reads a second"
            value={ratio === null ? '–' : `${Math.round(ratio * 100)} % hits`}
            points={reads}
          />
          <Spark
            label="KMS calls"
            value={latency === null ? '–' : `${two(latency)} ms each`}
            points={calls}
          />
          <Spark
            label="Rotated a second"
            value={last.entriesLeft > 0 ? `${last.entriesLeft} left` : two(entries.at(-1) ?? 0)}
            points={entries}
          />
        </div>
      )}
      {last && last.alteredPackages > 0 && (
        <p className="verdict wrong">
          {last.alteredPackages} packages did not pass their authentication: look for critical
          events in the audit trail.
        </p>
      )}
      {last && last.alteredLines > 0 && (
        <p className="verdict wrong">
          The audit log was altered ({last.alteredLines} times since the server began):{' '}
          <code>coffer audit verify</code> says where.
        </p>
      )}
    </section>
  );
}

function Readiness({ ready: { value, problem } }: { ready: Loaded<Health> }) {
  if (problem) return <Status well={false}>Not ready: {problem.code}</Status>;
  if (!value) return null;
  return (
    <Status well={!value.degraded}>
      {value.degraded ? `Degraded: ${value.degraded.join(', ')}` : 'Ready'}
    </Status>
  );
}
