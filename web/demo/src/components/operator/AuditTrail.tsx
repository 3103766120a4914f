import type { CofferClient } from '@coffer-storage/coffer/client';
import { useCallback, useMemo, useState } from 'react';
import type { AuditFilter } from '../../operator/api.js';
import { Trail } from '../../operator/trail.js';
import type { Problem } from '../../problem.js';
import { usePolled } from '../usePolled.js';
import { AuditFilterForm } from './AuditFilterForm.js';
import { AuditTable } from './AuditTable.js';
import { PanelNote } from './PanelNote.js';

const POLL_MS = 5000;

interface Props {
  client: CofferClient;
  note: (error: unknown) => Problem;
}

/** The audit trail with its filter, newest events first. New events appear at the top automatically. */
export function AuditTrail({ client, note }: Props) {
  const [filter, setFilter] = useState<AuditFilter>({});
  const trail = useMemo(() => new Trail(client, filter), [client, filter]);
  const { value, problem, reload } = usePolled(
    useCallback(() => trail.refresh(), [trail]),
    POLL_MS,
    note,
  );
  return (
    <section className="card audit" aria-labelledby="audit-title">
      <h2 id="audit-title">Audit trail</h2>
      <AuditFilterForm onFilter={setFilter} />
      <PanelNote problem={problem} scope="audit:read" />
      {value?.events.length === 0 && !problem && <p className="hint">No event matches.</p>}
      {value && value.events.length > 0 && problem?.code !== 'forbidden' && (
        <AuditTable events={value.events} />
      )}
      {value?.more && !problem && (
        <button type="button" className="button quiet" onClick={() => (trail.older(), reload())}>
          Older
        </button>
      )}
    </section>
  );
}
