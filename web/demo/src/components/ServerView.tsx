import { DataClassification, type EncryptedStorage } from 'coffer';
import { useEncryptedStorage } from 'coffer/react';
import { useState } from 'react';
import { type Problem, problemOf } from '../problem.js';
import { type Cached, CacheEntry } from '../server/cache.js';
import type { Item } from '../vault/records.js';
import { CacheReport } from './CacheReport.js';
import { ProblemNote } from './ProblemNote.js';
import type { Opened } from './RecordPane.js';
import { TokenForm } from './TokenForm.js';

const TTL = '1h';

interface Props {
  settings: EncryptedStorage;
  item: Item;
  opened: Opened;
}

/** What the server's cache is seen to hold of a record. */
export interface CacheState {
  /** What was done last, as a sentence. */
  said: string;
  back?: Cached & { equal: boolean };
  sealed?: Cached;
}

/** The same record through the server's cache: the server seals it under its own keys. */
export function ServerView({ settings, item, opened }: Props) {
  const token = useEncryptedStorage<string>('server token', DataClassification.CONFIDENTIAL, settings);
  const [state, setState] = useState<CacheState | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);

  async function act(work: (entry: CacheEntry) => Promise<CacheState>) {
    setBusy(true);
    setProblem(null);
    try {
      setState(await work(new CacheEntry(`demo/${item.id}`, token.value ?? '')));
    } catch (error) {
      setProblem(problemOf(error));
      setState(null);
    }
    setBusy(false);
  }

  const send = async (entry: CacheEntry) => {
    await entry.put(opened.file, item.classification, TTL, item.context);
    return { said: 'Sent. The server sealed it, for one hour.' };
  };
  const readBack = async (entry: CacheEntry) => {
    const [back, sealed] = [await entry.get(), await entry.getPackage()];
    return { said: 'Read back.', back: { ...back, equal: sameBytes(back.bytes, opened.bytes) }, sealed };
  };
  const remove = async (entry: CacheEntry) => {
    await entry.delete();
    return { said: 'Removed from the cache.' };
  };

  if (token.loading) return <p className="hint">Opening…</p>;
  return (
    <>
      <p>A back end caches what it fetched, and a cache is a disk too. Send this file to the server’s cache and see what lies there.</p>
      <TokenForm kept={Boolean(token.value)} failure={token.error} onKeep={token.updateValue} />
      {token.value && (
        <div className="actions">
          <button type="button" className="button primary" disabled={busy} onClick={() => act(send)}>
            Send to the cache
          </button>
          <button type="button" className="button" disabled={busy} onClick={() => act(readBack)}>
            Read back and compare
          </button>
          <button type="button" className="button quiet" disabled={busy} onClick={() => act(remove)}>
            Remove
          </button>
        </div>
      )}
      {problem && <ProblemNote problem={problem} />}
      {state && <CacheReport state={state} />}
    </>
  );
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
