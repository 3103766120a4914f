/** The server's cache as the page knows it: whether a token opens it, and whether it is there at all. */
import { CofferError, DataClassification, type EncryptedStorage } from '@coffer-storage/coffer';
import { CofferClient } from '@coffer-storage/coffer/client';
import { useEncryptedStorage } from '@coffer-storage/coffer/react';
import { useCallback, useEffect, useMemo, useState } from 'react';
import { type Problem, problemOf } from '../problem.js';

export type ServerState = 'opening' | 'signed-out' | 'checking' | 'ready' | 'refused' | 'offline';

export interface Server {
  state: ServerState;
  /** Why it is refused or offline, or why the token could not be kept. */
  problem: Problem | null;
  client: CofferClient;
  /** What the token may see of the server's keys and of its work; nothing until that is known. */
  may: { keys: boolean; audit: boolean };
  /** Keeps the token in the vault, and tries it. */
  signIn(token: string): Promise<void>;
  signOut(): Promise<void>;
  /** Tells of a call that failed: the token's refusal, or nobody there, changes the state; a scope that it lacks is the caller's to say. */
  note(error: unknown): Problem;
}

/** How often a server that was not there is looked for. */
const RETRY_MS = 3000;

const nothing: Server['may'] = { keys: false, audit: false };

export function useServer(settings: EncryptedStorage): Server {
  const token = useEncryptedStorage<string>(
    'server token',
    DataClassification.CONFIDENTIAL,
    settings,
  );
  const { value, updateValue } = token;
  const client = useMemo(
    () => new CofferClient('', { token: value || 'none', attempts: 1 }),
    [value],
  );
  const [seen, setSeen] = useState<{
    client: CofferClient;
    state: ServerState;
    problem: Problem | null;
  } | null>(null);
  const [found, setFound] = useState<{ client: CofferClient; may: Server['may'] } | null>(null);
  const current = seen?.client === client ? seen : null;

  const note = useCallback(
    (error: unknown) => {
      const problem = problemOf(error);
      const state = stateOf(error);
      if (state) setSeen({ client, state, problem });
      return problem;
    },
    [client],
  );
  const check = useCallback(async () => {
    // An operator's token opens no data, and a tenant's need not see keys or the audit log: whichever answers shows that the token is good.
    // A wrong one is tried once: the server counts refusals, and makes who has too many wait.
    const data = await settled(client.list({ pageSize: 1 }).next());
    const more =
      data.state === 'refused'
        ? []
        : await Promise.all([
            settled(client.rotations()),
            settled(client.events({ pageSize: 1 }).next()),
          ]);
    const [keys, audit] = more;
    setFound({ client, may: { keys: keys?.done === true, audit: audit?.done === true } });
    const all = [data, ...more];
    const refusal =
      all.find(({ state }) => state === 'refused') ??
      (all.some(({ done }) => done) ? undefined : all.find(({ state }) => state));
    setSeen({
      client,
      state: refusal?.state ?? 'ready',
      problem: refusal ? problemOf(refusal.error) : null,
    });
  }, [client]);

  useEffect(() => {
    if (value) void check();
  }, [value, check]);
  useEffect(() => {
    if (current?.state !== 'offline') return;
    const timer = setInterval(() => void check(), RETRY_MS);
    return () => clearInterval(timer);
  }, [current?.state, check]);

  const signIn = useCallback((text: string) => updateValue(text), [updateValue]);
  const signOut = useCallback(() => updateValue(''), [updateValue]);
  const state = token.loading ? 'opening' : !value ? 'signed-out' : (current?.state ?? 'checking');
  return {
    state,
    problem: token.error ? problemOf(token.error) : value ? (current?.problem ?? null) : null,
    client,
    may: found?.client === client ? found.may : nothing,
    signIn,
    signOut,
    note,
  };
}

/** How a call ended, and what that says of the server. */
async function settled(
  call: Promise<unknown>,
): Promise<{ done: boolean; error?: unknown; state?: ServerState | undefined }> {
  try {
    await call;
    return { done: true };
  } catch (error) {
    return { done: false, error, state: stateOf(error) };
  }
}

/** What a failed call says of the server; undefined where it says nothing. */
function stateOf(error: unknown): ServerState | undefined {
  if (!(error instanceof CofferError)) return undefined;
  if (
    error.code === 'unreachable' ||
    error.code === 'store_unavailable' ||
    error.code === 'timeout'
  )
    return 'offline';
  return error.code === 'unauthorized' ? 'refused' : undefined;
}
