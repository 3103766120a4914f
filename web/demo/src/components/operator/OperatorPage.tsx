import { useCallback, useState } from 'react';
import { keysetOf, rotationOf } from '../../operator/api.js';
import { type Snapshot, readMetrics } from '../../operator/metrics.js';
import type { Problem } from '../../problem.js';
import type { Server } from '../../server/useServer.js';
import { ProblemNote } from '../ProblemNote.js';
import { ServerGate } from '../SignIn.js';
import { useNow } from '../useNow.js';
import { usePolled } from '../usePolled.js';
import { AuditTrail } from './AuditTrail.js';
import { HealthPanel, MOST } from './HealthPanel.js';
import { KeysetsPanel } from './KeysetsPanel.js';
import { RotationPanel } from './RotationPanel.js';

const POLL_MS = 2000;

/** What an operator watches: the server's work, tenants' keys, rotations as they go on, and the audit trail. */
export function OperatorPage({ server }: { server: Server }) {
  return <ServerGate server={server}>{server.state === 'ready' && <Panels server={server} />}</ServerGate>;
}

function Panels({ server: { client, note } }: { server: Server }) {
  const now = useNow();
  const [problem, setProblem] = useState<Problem | null>(null);
  const failed = useCallback((error: unknown) => setProblem(note(error)), [note]);
  const [snapshots, setSnapshots] = useState<Snapshot[]>([]);
  const measure = useCallback(async () => {
    const snapshot = readMetrics(await client.metrics(), Date.now());
    setSnapshots((all) => [...all, snapshot].slice(-MOST - 1));
  }, [client]);
  usePolled(measure, POLL_MS, failed);
  const keys = usePolled(
    useCallback(async () => {
      const [keysets, rotations] = [[], await client.rotations()] as [ReturnType<typeof keysetOf>[], Awaited<ReturnType<typeof client.rotations>>];
      for await (const keyset of client.keysets()) keysets.push(keysetOf(keyset));
      keysets.sort((a, b) => a.tenant.localeCompare(b.tenant)); // the server has an order of its own
      return { keysets, rotations: rotations.map(rotationOf) };
    }, [client]),
    POLL_MS,
    failed,
  );
  return (
    <div className="operator">
      {problem && <ProblemNote problem={problem} />}
      <HealthPanel snapshots={snapshots} />
      {keys && (
        <>
          <KeysetsPanel keysets={keys.keysets} snapshot={snapshots.at(-1)} now={now} />
          <RotationPanel
            tenants={[...new Set(keys.keysets.map(({ tenant }) => tenant))]}
            rotations={keys.rotations}
            onRotate={(tenant) => void client.rotate({ tenant }).catch(failed)}
            onRollback={(tenant) => void client.rollback({ tenant }).catch(failed)}
          />
        </>
      )}
      <AuditTrail client={client} onError={failed} />
    </div>
  );
}
