import { useCallback, useEffect, useState } from 'react';
import type { Problem } from '../problem.js';
import { type CacheItem, listEntries } from '../server/entries.js';
import type { Server } from '../server/useServer.js';
import { CacheEntry } from './CacheEntry.js';
import { CacheRow } from './CacheRow.js';
import { ProblemNote } from './ProblemNote.js';
import { ServerGate } from './SignIn.js';
import { useNow } from './useNow.js';

/** The server's cache: its entries, their remaining time, and the stored package of each. */
export function CachePage({ server }: { server: Server }) {
  const { state, client, note, signOut } = server;
  const [items, setItems] = useState<CacheItem[] | null>(null);
  const [chosen, setChosen] = useState<string | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const now = useNow();
  const load = useCallback(async () => {
    try {
      setItems(await listEntries(client));
      setProblem(null);
    } catch (error) {
      setProblem(note(error));
    }
  }, [client, note]);

  useEffect(() => {
    if (state === 'ready') void load();
    if (state === 'signed-out') setItems(null);
  }, [state, load]);

  const alive = items?.filter(({ endsAt }) => endsAt === null || endsAt > now);
  const item = alive?.find(({ key }) => key === chosen);
  return (
    <div className="workspace">
      <section className="card cache" aria-labelledby="cache-title">
        <header className="pane-head">
          <h2 id="cache-title">
            In the server’s cache{' '}
            {alive && alive.length > 0 && <span className="count">{alive.length}</span>}
          </h2>
          {state === 'ready' && (
            <span className="actions">
              <button type="button" className="button quiet" onClick={() => void load()}>
                Refresh
              </button>
              <button type="button" className="button quiet" onClick={() => void signOut()}>
                Sign out
              </button>
            </span>
          )}
        </header>
        <ServerGate server={server}>
          {problem && state === 'ready' && <ProblemNote problem={problem} />}
          {!items && state === 'ready' && !problem && <p className="hint">Reading…</p>}
          {alive?.length === 0 && <p className="hint">The cache is empty.</p>}
          <ul className="cache-list">
            {alive?.map((one) => (
              <CacheRow
                key={one.key}
                item={one}
                now={now}
                chosen={one.key === chosen}
                onChoose={setChosen}
              />
            ))}
          </ul>
        </ServerGate>
      </section>
      <section className="card pane" aria-label="Entry">
        {item ? (
          <CacheEntry
            key={item.key + item.etag}
            server={server}
            item={item}
            now={now}
            onChange={load}
          />
        ) : (
          <NothingChosen server={server} empty={alive?.length === 0} />
        )}
      </section>
    </div>
  );
}

function NothingChosen({ server: { state }, empty }: { server: Server; empty: boolean }) {
  const title =
    state !== 'ready'
      ? 'Look behind the cache.'
      : empty
        ? 'Nothing is cached yet.'
        : 'Choose an entry.';
  return (
    <div className="nothing">
      <p className="nothing-title">{title}</p>
      <p>
        {empty && state === 'ready'
          ? 'Open a record in “This browser”, choose “On the server” and send it. It appears here, sealed, with its remaining time.'
          : 'You see the package that Redis, or the server’s embedded store, contains, and its remaining time. You can extend or delete it.'}
      </p>
    </div>
  );
}
