import type { Keyset } from '../../operator/api.js';
import { agesOf, lived, span } from '../../operator/keysets.js';
import type { Snapshot } from '../../operator/metrics.js';
import { ClassBadge } from '../ClassBadge.js';

interface Props {
  keysets: readonly Keyset[];
  /** The last one. */
  snapshot: Snapshot | undefined;
  now: number;
}

/** The keysets with their keys' states, their age and what is left of their time. */
export function KeysetsPanel({ keysets, snapshot, now }: Props) {
  const ages = snapshot ? agesOf(snapshot.oldestPrimary, snapshot.overdue) : null;
  const tenants = new Set(keysets.map(({ tenant }) => tenant)).size;
  return (
    <section className="card keysets" aria-labelledby="keysets-title">
      <header className="pane-head">
        <h2 id="keysets-title">
          Keysets <span className="count">{keysets.length}</span>
        </h2>
        {ages && (
          <p className={snapshot?.overdue ? 'server-status offline' : 'server-status ready'} role="status">
            <span className="dot" aria-hidden="true" />
            {ages}
          </p>
        )}
      </header>
      {keysets.length === 0 && <p className="hint">No key was needed yet. Keys are made when something is first sealed.</p>}
      {keysets.length > 0 && (
        <div className="table" role="region" aria-label="Keysets" tabIndex={0}>
          <table>
            <thead>
              <tr>
                {tenants > 1 && <th scope="col">Tenant</th>}
                <th scope="col">Use</th>
                <th scope="col">Class</th>
                <th scope="col">Primary</th>
                <th scope="col">Age</th>
                <th scope="col">Keys</th>
              </tr>
            </thead>
            <tbody>
              {keysets.map((keyset) => (
                <tr key={`${keyset.tenant} ${keyset.use} ${keyset.class}`}>
                  {tenants > 1 && <td>{keyset.tenant}</td>}
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
      )}
    </section>
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
        {nextRotationAt && <span className="hint">, next in {span(nextRotationAt.getTime() - now)}</span>}
      </span>
    </span>
  );
}

/** How many keys are in which state: `1 enabled, 2 destroyed`. */
function statesOf({ keys }: Keyset): string {
  const counts = new Map<string, number>();
  for (const { state } of keys) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
}
