import { useState } from 'react';
import type { Rotation } from '../../operator/api.js';
import { sentenceOf } from '../../operator/keysets.js';
import { dateText } from '../../wording.js';
import { ClassBadge } from '../ClassBadge.js';

interface Props {
  rotations: readonly Rotation[];
  busy: boolean;
  onRotate: (compromised: boolean) => void;
  onRollback: (tenant: string) => void;
}

/** Rotations as they go on, and the buttons that begin one or take one back. */
export function RotationPanel({ rotations, busy, onRotate, onRollback }: Props) {
  const [asked, setAsked] = useState(false);
  const shown = rotations.filter(({ state }) => state !== '');
  return (
    <section className="card rotation" aria-labelledby="rotation-title">
      <header className="pane-head">
        <h2 id="rotation-title">Rotation</h2>
        {asked ? (
          <span className="actions">
            <button type="button" className="button primary" disabled={busy} onClick={() => (setAsked(false), onRotate(false))}>
              Make new keys
            </button>
            <button type="button" className="button danger" disabled={busy} onClick={() => (setAsked(false), onRotate(true))}>
              The keys are compromised
            </button>
            <button type="button" className="button quiet" autoFocus onClick={() => setAsked(false)}>
              Cancel
            </button>
          </span>
        ) : (
          <button type="button" className="button" disabled={busy} onClick={() => setAsked(true)}>
            Rotate…
          </button>
        )}
      </header>
      {asked && (
        <p className="hint">
          New keys seal from now on, and the cache is sealed anew under them. The former ones still open for a while, and a rollback is possible. Of compromised
          keys it is not: they never seal again.
        </p>
      )}
      {shown.length === 0 && <p className="hint">No rotation yet. Keys are rotated by themselves when they are old enough.</p>}
      <ul className="rotations">
        {shown.map((rotation) => (
          <Progress key={rotation.tenant} rotation={rotation} onRollback={onRollback} busy={busy} />
        ))}
      </ul>
    </section>
  );
}

function Progress({ rotation, onRollback, busy }: { rotation: Rotation; busy: boolean; onRollback: (tenant: string) => void }) {
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
      {!compromised && (state === 'reencrypting' || state === 'grace') && (
        <button type="button" className="button quiet" disabled={busy} onClick={() => onRollback(tenant)}>
          Roll back
        </button>
      )}
    </li>
  );
}
