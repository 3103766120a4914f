import type { Rotation } from '../../operator/api.js';
import { sentenceOf } from '../../operator/keysets.js';
import { dateText } from '../../wording.js';
import { ClassBadge } from '../ClassBadge.js';
import { ConfirmButton } from '../ConfirmButton.js';

interface Props {
  tenant: string;
  rotation: Rotation | undefined;
  onRotate: () => void;
  onRollback: () => void;
}

/** A tenant's rotation, with buttons that begin one or roll it back. */
export function RotationView({ tenant, rotation, onRotate, onRollback }: Props) {
  return (
    <div className="rotation">
      {rotation && <Progress rotation={rotation} />}
      <span className="actions">
        <ConfirmButton
          label={`Rotate the keys of ${tenant}`}
          ask="Make new keys"
          onConfirm={onRotate}
        />
        {rotation &&
          !rotation.compromised &&
          ['reencrypting', 'grace', 'retiring'].includes(rotation.state) && (
            <ConfirmButton
              label="Roll back"
              ask="Make the old keys seal again"
              onConfirm={onRollback}
            />
          )}
      </span>
    </div>
  );
}

function Progress({ rotation }: { rotation: Rotation }) {
  const { state, reason, compromised, reencrypted, failed, failures, begunAt, nextAt } = rotation;
  return (
    <>
      <p role="status">
        {sentenceOf(state, compromised)}{' '}
        <span className="hint">
          Begun {dateText(begunAt)}
          {reason && `, reason: ${reason}`}.
        </span>{' '}
        {compromised && <span className="badge class-phi">compromised</span>}
      </p>
      <p className="hint">
        {reencrypted} re-encrypted
        {failed > 0 && `, ${failed} do not open`}
        {nextAt && `; the next step is due ${dateText(nextAt)}`}
      </p>
      {failures.map(({ class: name, keyId, code, entries }) => (
        <p key={`${name}${keyId}${code}`} className="hint">
          {entries} of <ClassBadge classification={name} /> under <code>{keyId.slice(0, 12)}…</code>
          : <code>{code}</code>
        </p>
      ))}
    </>
  );
}
