import { useState } from 'react';
import { useServer } from '../server/useServer.js';
import type { Vault } from '../vault/vault.js';
import { CachePage } from './CachePage.js';
import { Icon, type IconName } from './Icon.js';
import { OperatorPage } from './operator/OperatorPage.js';
import { RecordsPage } from './RecordsPage.js';
import { ServerStatus } from './ServerStatus.js';

type View = 'records' | 'cache' | 'operator';

const views: readonly { name: View; label: string; icon: IconName }[] = [
  { name: 'records', label: 'This browser', icon: 'coffer' },
  { name: 'cache', label: 'Server’s cache', icon: 'server' },
  { name: 'operator', label: 'Operations', icon: 'seal' },
];

/** The unlocked vault: the records of this browser, the server's cache, and operations. */
export function Workspace({ vault }: { vault: Vault }) {
  const [view, setView] = useState<View>('records');
  const [chosen, setChosen] = useState<string | null>(null); // kept while another view is shown
  const server = useServer(vault.settings);
  const shown = views.filter(
    ({ name }) => name !== 'operator' || server.may.keys || server.may.audit,
  );
  return (
    <>
      <h1 className="visually-hidden">Your vault</h1>
      <div className="views">
        <nav aria-label="Views">
          <ul>
            {shown.map(({ name, label, icon }) => (
              <li key={name}>
                <button
                  type="button"
                  className="view"
                  aria-current={view === name ? 'page' : undefined}
                  onClick={() => setView(name)}
                >
                  <Icon name={icon} />
                  {label}
                </button>
              </li>
            ))}
          </ul>
        </nav>
        <ServerStatus state={server.state} />
      </div>
      {view === 'records' && (
        <RecordsPage vault={vault} server={server} chosen={chosen} onChoose={setChosen} />
      )}
      {view === 'cache' && <CachePage server={server} />}
      {view === 'operator' && <OperatorPage server={server} />}
    </>
  );
}
