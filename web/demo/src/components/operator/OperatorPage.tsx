import { useCallback, useState } from 'react';
import { type Snapshot, readMetrics } from '../../operator/metrics.js';
import { problemOf } from '../../problem.js';
import type { Server } from '../../server/useServer.js';
import { ServerGate } from '../SignIn.js';
import { Tabs } from '../Tabs.js';
import { usePolled } from '../usePolled.js';
import { AuditTrail } from './AuditTrail.js';
import { HealthPanel, MOST } from './HealthPanel.js';
import { KeysPanel } from './KeysPanel.js';

const POLL_MS = 2000;

/** The page of an operator: server health, keys of tenants, rotations and the audit trail, as far as the scopes of the token allow. */
export function OperatorPage({ server }: { server: Server }) {
  return (
    <ServerGate server={server}>
      {server.state === 'ready' && <Panels server={server} />}
    </ServerGate>
  );
}

function Panels({ server: { client, may, note } }: { server: Server }) {
  const [snapshots, setSnapshots] = useState<Snapshot[]>([]);
  const measure = useCallback(async () => {
    const snapshot = readMetrics(await client.metrics(), Date.now());
    setSnapshots((all) => [...all, snapshot].slice(-MOST - 1));
  }, [client]);
  const health = usePolled(measure, POLL_MS, note);
  const ready = usePolled(
    useCallback(() => client.ready(), [client]),
    POLL_MS,
    problemOf,
  );
  const tabs = [
    {
      title: 'Keys',
      content: () => <KeysPanel client={client} note={note} snapshot={snapshots.at(-1)} />,
    },
    { title: 'Audit trail', content: () => <AuditTrail client={client} note={note} /> },
  ];
  return (
    <div className="operator">
      <HealthPanel snapshots={snapshots} problem={health.problem} ready={ready} />
      <Tabs label="Operations" tabs={may.keys ? tabs : tabs.reverse()} />
    </div>
  );
}
