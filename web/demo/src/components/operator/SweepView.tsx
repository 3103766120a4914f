import type { Rotations } from '../../operator/api.js';

/** The progress of the sweep that serves all rotations, and the reason if no key can be destroyed. */
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
            aria-label="Visited entries"
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
