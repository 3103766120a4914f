import type { CofferClient } from '@coffer-storage/coffer/client';
import { type FormEvent, useCallback, useEffect, useState } from 'react';
import { rotationsOf } from '../../operator/api.js';
import { agesOf, goesOn } from '../../operator/keysets.js';
import type { Snapshot } from '../../operator/metrics.js';
import { TENANTS, findTenant, loadTenants } from '../../operator/tenants.js';
import type { Problem } from '../../problem.js';
import { useNow } from '../useNow.js';
import { usePolled } from '../usePolled.js';
import { PanelNote } from './PanelNote.js';
import { Status } from './Status.js';
import { SweepView } from './SweepView.js';
import { TenantRow } from './TenantRow.js';

/** Keysets and finished rotations change rarely. */
const SLOW_MS = 30_000;
const LIVE_MS = 2000;

interface Props {
  client: CofferClient;
  note: (error: unknown) => Problem;
  /** The id of the last tenant. */
  snapshot: Snapshot | undefined;
}

/** The tenants with their keysets and rotations: a page of them, more pages, or one that is searched. */
export function KeysPanel({ client, note, snapshot }: Props) {
  const now = useNow();
  const [most, setMost] = useState(TENANTS);
  const [text, setText] = useState('');
  const [wanted, setWanted] = useState('');
  const [refusal, setRefusal] = useState<Problem | null>(null);
  const [live, setLive] = useState(false);
  const keys = usePolled(
    useCallback(
      () => (wanted ? findTenant(client, wanted) : loadTenants(client, most)),
      [client, wanted, most],
    ),
    SLOW_MS,
    note,
  );
  const rotations = usePolled(
    useCallback(async () => rotationsOf(await client.rotations()), [client]),
    live ? LIVE_MS : SLOW_MS,
    note,
  );

  const going = rotations.value?.rotations.filter(({ state }) => goesOn(state)) ?? [];
  useEffect(() => setLive(going.length > 0), [going.length]);
  const made = rotations.value?.rotations.map(({ id, state }) => id + state).join();
  const { reload } = keys;
  useEffect(() => reload(), [made, reload]); // the progress of a rotation changes keysets

  const change = (work: Promise<unknown>) => {
    setRefusal(null);
    work.catch((error: unknown) => setRefusal(note(error))).finally(rotations.reload);
  };
  const find = (event: FormEvent) => {
    event.preventDefault();
    setWanted(text.trim());
  };

  const missing = wanted !== '' && keys.problem?.code === 'not_found';
  const { tenants, more } = missing || !keys.value ? { tenants: [], more: false } : keys.value;
  const shown = tenants.filter(({ name }) =>
    name.toLowerCase().includes(text.trim().toLowerCase()),
  );
  const elsewhere = going
    .filter(({ tenant }) => !tenants.some(({ name }) => name === tenant))
    .map(({ tenant }) => tenant);
  const ages = snapshot ? agesOf(snapshot.oldestPrimary, snapshot.overdue) : null;
  return (
    <section className="card keysets" aria-labelledby="keysets-title">
      <header className="pane-head">
        <h2 id="keysets-title">
          Keys{' '}
          {tenants.length > 1 && (
            <span className="count">
              {tenants.length} tenants{more && ' and more'}
            </span>
          )}
        </h2>
        {ages && <Status well={!snapshot?.overdue}>{ages}</Status>}
      </header>
      <p className="hint">
        Keys are rotated automatically when they are old enough. The new ones seal at once, the
        cache is re-encrypted under them, and the old ones still open for a while. A key that others
        may know is rotated by <code>coffer rotate --execute --compromised</code>, which cannot be
        rolled back.
      </p>
      {(tenants.length > 1 || text || wanted) && (
        <search>
          <form className="tenant-search" onSubmit={find}>
            <label>
              Tenant
              <input
                type="search"
                value={text}
                onChange={(event) => {
                  setText(event.target.value);
                  if (!event.target.value) setWanted('');
                }}
                autoComplete="off"
                spellCheck={false}
              />
            </label>
            <button type="submit" className="button">
              Find
            </button>
            <p className="visually-hidden" role="status">
              {shown.length === 1 ? '1 tenant is shown.' : `${shown.length} tenants are shown.`}
            </p>
          </form>
        </search>
      )}
      <PanelNote
        problem={refusal ?? (missing ? null : (keys.problem ?? rotations.problem))}
        scope="keys:admin"
      />
      {rotations.value && <SweepView rotations={rotations.value} />}
      {missing && <p className="hint">No tenant with exactly this name has keys.</p>}
      {keys.value && !missing && tenants.length === 0 && (
        <p className="hint">No key was needed yet. Keys are made when something is first sealed.</p>
      )}
      {tenants.length > 0 && shown.length === 0 && (
        <p className="hint">
          No loaded tenant matches. “Find” asks the server for the tenant with exactly this name.
        </p>
      )}
      <ul className="tenants">
        {shown.map((tenant) => (
          <TenantRow
            key={tenant.name}
            tenant={tenant}
            rotation={rotations.value?.rotations.find((one) => one.tenant === tenant.name)}
            now={now}
            open={tenants.length === 1}
            onRotate={() => change(client.rotate({ tenant: tenant.name }))}
            onRollback={() => change(client.rollback({ tenant: tenant.name }))}
          />
        ))}
      </ul>
      {elsewhere.length > 0 && (
        <p className="hint">
          Also being rotated: {elsewhere.slice(0, 10).join(', ')}
          {elsewhere.length > 10 && ` and ${elsewhere.length - 10} more`}.
        </p>
      )}
      {more && (
        <button type="button" className="button quiet" onClick={() => setMost(most + TENANTS)}>
          More tenants
        </button>
      )}
    </section>
  );
}
