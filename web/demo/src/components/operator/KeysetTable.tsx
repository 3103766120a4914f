import type { Keyset } from '../../operator/api.js';
import { lived, span } from '../../operator/keysets.js';
import type { Tenant } from '../../operator/tenants.js';
import { ClassBadge } from '../ClassBadge.js';

/** A tenant's keysets with the states of their keys, their age and the time to the next rotation. */
export function KeysetTable({ tenant, now }: { tenant: Tenant; now: number }) {
  return (
    <div
      className="table keyset-table"
      role="region"
      aria-label={`Keysets of ${tenant.name}`}
      tabIndex={0}
    >
      <table>
        <thead>
          <tr>
            <th scope="col">Use</th>
            <th scope="col">Class</th>
            <th scope="col">Primary</th>
            <th scope="col">Age</th>
            <th scope="col">Keys</th>
          </tr>
        </thead>
        <tbody>
          {tenant.keysets.map((keyset) => (
            <tr key={`${keyset.use} ${keyset.class}`}>
              <td>{keyset.use}</td>
              <td>
                <ClassBadge classification={keyset.class} />
              </td>
              <td>
                <code>{keyset.primary.slice(0, 12)}…</code>
              </td>
              <td>
                <Age keyset={keyset} now={now} />
              </td>
              <td>{statesOf(keyset)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Age({ keyset: { rotatedAt, nextRotationAt }, now }: { keyset: Keyset; now: number }) {
  const share = lived(rotatedAt, nextRotationAt, now);
  return (
    <span className="life">
      {share !== null && (
        <span className="life-bar" aria-hidden="true">
          <span style={{ width: `${share * 100}%` }} />
        </span>
      )}
      <span>
        {span(now - rotatedAt.getTime())}
        {nextRotationAt && (
          <span className="hint">, next in {span(nextRotationAt.getTime() - now)}</span>
        )}
      </span>
    </span>
  );
}

/** The number of keys in each state: `1 enabled, 2 destroyed`. */
function statesOf({ keys }: Keyset): string {
  const counts = new Map<string, number>();
  for (const { state } of keys) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
}
