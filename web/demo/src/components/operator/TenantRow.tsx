import type { Rotation } from '../../operator/api.js';
import { goesOn } from '../../operator/keysets.js';
import type { Tenant } from '../../operator/tenants.js';
import { KeysetTable } from './KeysetTable.js';
import { RotationView } from './RotationView.js';

interface Props {
  tenant: Tenant;
  rotation: Rotation | undefined;
  now: number;
  /** Whether the row is expanded at first. */
  open: boolean;
  onRotate: () => void;
  onRollback: () => void;
}

/** A row for a tenant. Expanded, it shows the keysets and the rotation. */
export function TenantRow({ tenant, rotation, now, open, onRotate, onRollback }: Props) {
  const { name, keysets } = tenant;
  const overdue = keysets.filter(
    ({ nextRotationAt }) => nextRotationAt && nextRotationAt.getTime() < now,
  ).length;
  return (
    <li>
      <details className="tenant" open={open}>
        <summary>
          <span className="tenant-name">{name}</span>
          <span className="hint">
            {keysets.length === 1 ? '1 keyset' : `${keysets.length} keysets`}
            {overdue > 0 && `, ${overdue} overdue`}
          </span>
          {rotation && (goesOn(rotation.state) || rotation.failed > 0) && (
            <span className="tenant-state">
              {rotation.failed > 0
                ? `${rotation.failed} entries do not open`
                : rotation.state.replace('-', ' ')}
            </span>
          )}
        </summary>
        <KeysetTable tenant={tenant} now={now} />
        <RotationView
          tenant={name}
          rotation={rotation}
          onRotate={onRotate}
          onRollback={onRollback}
        />
      </details>
    </li>
  );
}
