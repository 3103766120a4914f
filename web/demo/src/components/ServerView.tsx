import type { Entry } from '@coffer-storage/coffer/client';
import { useState } from 'react';
import { DemoError } from '../demo-error.js';
import type { Problem } from '../problem.js';
import type { Server } from '../server/useServer.js';
import type { Item } from '../vault/records.js';
import { CacheReport } from './CacheReport.js';
import { ProblemNote } from './ProblemNote.js';
import type { Opened } from './RecordPane.js';
import { ServerGate } from './SignIn.js';

const TTL = '1h';

interface Props {
  server: Server;
  item: Item;
  opened: Opened;
}

/** The state of a record in the server's cache. */
export interface CacheState {
  /** The result of the last action, as a sentence. */
  said: string;
  back?: Entry & { equal: boolean };
  sealed?: Entry;
}

/** The record in the server's cache, sealed under the server's keys. */
export function ServerView({ server, item, opened }: Props) {
  const [state, setState] = useState<CacheState | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const { client } = server;
  const key = `demo/${item.id}`;

  async function act(work: () => Promise<CacheState>) {
    setBusy(true);
    setProblem(null);
    setState(null); // clear the result of the former call
    try {
      setState(await work());
    } catch (error) {
      setProblem(server.note(error));
    }
    setBusy(false);
  }

  const send = async () => {
    await client.set(key, opened.file, {
      class: item.classification,
      ttl: TTL,
      context: item.context,
    });
    return { said: 'Sent. The server sealed it, for one hour.' };
  };
  const readBack = async () => {
    const [back, sealed] = [present(await client.get(key)), present(await client.getPackage(key))];
    return {
      said: 'Read back.',
      back: { ...back, equal: sameBytes(back.value, opened.bytes) },
      sealed,
    };
  };
  const remove = async () => {
    present((await client.delete(key)) || null);
    return { said: 'Removed from the cache.' };
  };

  return (
    <>
      <p>
        A backend caches its data, and caches are stored on disks, too. Send this file to the
        server’s cache and see what lies there.
      </p>
      <ServerGate server={server}>
        <div className="actions">
          <button
            type="button"
            className="button primary"
            disabled={busy}
            onClick={() => act(send)}
          >
            Send to the cache
          </button>
          <button type="button" className="button" disabled={busy} onClick={() => act(readBack)}>
            Read back and compare
          </button>
          <button
            type="button"
            className="button quiet"
            disabled={busy}
            onClick={() => act(remove)}
          >
            Remove
          </button>
        </div>
      </ServerGate>
      {problem && <ProblemNote problem={problem} />}
      {state && <CacheReport state={state} />}
    </>
  );
}

function present<T>(found: T | null): T {
  if (found === null) throw new DemoError('not_found', 'there is nothing under that key');
  return found;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
