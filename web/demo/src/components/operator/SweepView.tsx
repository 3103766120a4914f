import type { Rotations } from '../../operator/api.js';

/** The sweep of the cache that serves all rotations, and why no key is destroyed. */
export function SweepView({ rotations: { sweep, warnings } }: { rotations: Rotations }) {
  return (
    <>
      {sweep && !sweep.endedAt && (
        <p role="status">
          Sweeping the cache: {sweep.scanned} entries, {sweep.partsDone} of {sweep.parts} parts
          done.{' '}
          <progress
            value={sweep.expected ? Math.min(sweep.scanned, sweep.expected) : undefined}
            max={sweep.expected || undefined}
            aria-label="Entries that are done"
          />
        </p>
      )}
      {sweep?.endedAt && sweep.fault && (
        <p className="hint">The last sweep was incomplete: {sweep.fault}.</p>
      )}
      {warnings.map((warning) => (
        <p key={warning} className="hint">
          {warning}
        </p>
      ))}
    </>
  );
}
