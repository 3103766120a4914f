import { useState } from 'react';
import type { Rotation } from '../../operator/api.js';
import { sentenceOf } from '../../operator/keysets.js';
import { dateText } from '../../wording.js';
import { ClassBadge } from '../ClassBadge.js';

interface Props {
  tenants: readonly string[];
  rotations: readonly Rotation[];
  onRotate: (tenant: string) => void;
  onRollback: (tenant: string) => void;
}

/** Rotations as they go on, and the buttons that begin one or take one back. */
export function RotationPanel({ tenants, rotations, onRotate, onRollback }: Props) {
  return (
    <section className="card rotation" aria-labelledby="rotation-title">
      <h2 id="rotation-title">Rotation</h2>
      <p className="hint">
        Keys are rotated by themselves when they are old enough. New keys seal at once, the cache is sealed anew under them, and the former ones still open for
        a while. Of compromised keys there is no way back: <code>coffer rotate --execute --compromised</code>.
      </p>
      <ul className="rotations">
        {tenants.map((tenant) => {
          const rotation = rotations.find((one) => one.tenant === tenant);
          return (
            <li key={tenant}>
              {rotation ? <Progress rotation={rotation} /> : <p>{tenant}</p>}
              <span className="actions">
                <Confirmed label={`Rotate the keys of ${tenant}`} ask="Make new keys" onConfirm={() => onRotate(tenant)} />
                {rotation && !rotation.compromised && ['reencrypting', 'grace'].includes(rotation.state) && (
                  <Confirmed label="Roll back" ask="Make the former keys seal again" onConfirm={() => onRollback(tenant)} />
                )}
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** A button that acts at the second press. */
function Confirmed({ label, ask, onConfirm }: { label: string; ask: string; onConfirm: () => void }) {
  const [asked, setAsked] = useState(false);
  return asked ? (
    <button type="button" className="button primary" autoFocus onBlur={() => setAsked(false)} onClick={() => (setAsked(false), onConfirm())}>
      {ask}
    </button>
  ) : (
    <button type="button" className="button quiet" onClick={() => setAsked(true)}>
      {label}
    </button>
  );
}

function Progress({ rotation }: { rotation: Rotation }) {
  const { tenant, state, compromised, total, scanned, reencrypted, failed, failures, begunAt, nextAt } = rotation;
  const going = ['rotating', 'reencrypting', 'first-scan', 'second-scan'].includes(state);
  return (
    <>
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
    </>
  );
}
