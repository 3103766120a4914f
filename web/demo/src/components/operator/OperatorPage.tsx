import { useCallback, useState } from 'react';
import { keysetOf, rotationOf } from '../../operator/api.js';
import { type Snapshot, readMetrics } from '../../operator/metrics.js';
import type { Problem } from '../../problem.js';
import type { Server } from '../../server/useServer.js';
import { ServerGate } from '../SignIn.js';
import { useNow } from '../useNow.js';
import { usePolled } from '../usePolled.js';
import { AuditTrail } from './AuditTrail.js';
import { HealthPanel, MOST } from './HealthPanel.js';
import { KeysetsPanel } from './KeysetsPanel.js';
import { PanelNote } from './PanelNote.js';
import { RotationPanel } from './RotationPanel.js';

const POLL_MS = 2000;

/** What an operator watches: the server's work, tenants' keys, rotations as they go on, and the audit trail, as far as the token may see them. */
export function OperatorPage({ server }: { server: Server }) {
  return <ServerGate server={server}>{server.state === 'ready' && <Panels server={server} />}</ServerGate>;
}

function Panels({ server: { client, note } }: { server: Server }) {
  const now = useNow();
  const [problem, setProblem] = useState<Problem | null>(null);
  const [snapshots, setSnapshots] = useState<Snapshot[]>([]);
  const measure = useCallback(async () => {
    const snapshot = readMetrics(await client.metrics(), Date.now());
    setSnapshots((all) => [...all, snapshot].slice(-MOST - 1));
  }, [client]);
  const health = usePolled(measure, POLL_MS, note);
  const keys = usePolled(
    useCallback(async () => {
      const [keysets, rotations] = [[], await client.rotations()] as [ReturnType<typeof keysetOf>[], Awaited<ReturnType<typeof client.rotations>>];
      for await (const keyset of client.keysets()) keysets.push(keysetOf(keyset));
      keysets.sort((a, b) => a.tenant.localeCompare(b.tenant)); // the server has an order of its own
      return { keysets, rotations: rotations.map(rotationOf) };
    }, [client]),
    POLL_MS,
    note,
  );
  const change = (work: Promise<unknown>) => void work.then(() => (setProblem(null), keys.reload()), (error: unknown) => setProblem(note(error)));
  return (
    <div className="operator">
      <HealthPanel snapshots={snapshots} problem={health.problem} />
      {!keys.value && <PanelNote problem={keys.problem} scope="keys:admin" />}
      {keys.value && (
        <>
          <PanelNote problem={problem ?? keys.problem} scope="keys:admin" />
          <KeysetsPanel keysets={keys.value.keysets} snapshot={snapshots.at(-1)} now={now} />
          <RotationPanel
            tenants={[...new Set(keys.value.keysets.map(({ tenant }) => tenant))]}
            rotations={keys.value.rotations}
            onRotate={(tenant) => change(client.rotate({ tenant }))}
            onRollback={(tenant) => change(client.rollback({ tenant }))}
          />
        </>
      )}
      <AuditTrail client={client} note={note} />
    </div>
  );
}
