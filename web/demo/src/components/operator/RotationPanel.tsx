import type { Rotation } from '../../operator/api.js';
import { sentenceOf } from '../../operator/keysets.js';
import { dateText } from '../../wording.js';
import { ClassBadge } from '../ClassBadge.js';

/** Rotations as they go on. */
export function RotationPanel({ rotations }: { rotations: readonly Rotation[] }) {
  return (
    <section className="card rotation" aria-labelledby="rotation-title">
      <h2 id="rotation-title">Rotation</h2>
      {rotations.length === 0 && (
        <p className="hint">
          No rotation yet. Keys are rotated by themselves when they are old enough, and by <code>coffer rotate --execute</code> at once.
        </p>
      )}
      <ul className="rotations">
        {rotations.map((rotation) => (
          <Progress key={rotation.tenant} rotation={rotation} />
        ))}
      </ul>
    </section>
  );
}

function Progress({ rotation }: { rotation: Rotation }) {
  const { tenant, state, compromised, total, scanned, reencrypted, failed, failures, begunAt, nextAt } = rotation;
  const going = ['rotating', 'reencrypting', 'first-scan', 'second-scan'].includes(state);
  return (
    <li>
      <p>
        <strong>{tenant}</strong> <span className="hint">begun {dateText(begunAt)}</span>
        {compromised && <span className="badge class-phi">compromised</span>}
      </p>
      <p role="status">{sentenceOf(state, compromised)}</p>
      {going && <progress value={total ? Math.min(scanned, total) : undefined} max={total || undefined} aria-label={`Entries of ${tenant} that were gone through`} />}
      <p className="hint">
        {scanned} of {Math.max(total, scanned)} entries gone through, {reencrypted} sealed anew
        {failed > 0 && `, ${failed} do not open`}
        {nextAt && state !== 'done' && `; goes on ${dateText(nextAt)}`}
      </p>
      {failures.map(({ class: name, keyId, code, entries }) => (
        <p key={`${name}${keyId}${code}`} className="hint">
          {entries} of <ClassBadge classification={name} /> under <code>{keyId.slice(0, 12)}…</code>: <code>{code}</code>
        </p>
      ))}
    </li>
  );
}
