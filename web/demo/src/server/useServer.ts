/** The connection to the server: whether it answers, and whether it accepts the token. */
import { CofferError, DataClassification, type EncryptedStorage } from '@coffer-storage/coffer';
import { CofferClient } from '@coffer-storage/coffer/client';
import { useEncryptedStorage } from '@coffer-storage/coffer/react';
import { useCallback, useEffect, useMemo, useState } from 'react';
import { type Problem, problemOf } from '../problem.js';

export type ServerState = 'opening' | 'signed-out' | 'checking' | 'ready' | 'refused' | 'offline';

export interface Server {
  state: ServerState;
  /** Why the server refuses or does not answer, or why the token could not be stored. */
  problem: Problem | null;
  client: CofferClient;
  /** The views that the scopes of the token allow; none until they are known. */
  may: { keys: boolean; audit: boolean };
  /** Stores the token in the vault, and tries it. */
  signIn(token: string): Promise<void>;
  signOut(): Promise<void>;
  /** Reports a failed call. A refused token or an unreachable server changes the state; a missing scope does not. */
  note(error: unknown): Problem;
}

/** Milliseconds between two attempts to reach a server that does not answer. */
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
    // A token is valid if one of three calls succeeds: an operator's token opens no data, and a tenant's token may lack keys and audit scopes.
    // A refused token is tried once, because the server counts refusals and delays clients that have too many.
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

/** The outcome of a call, and the state of the server that follows from it. */
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

/** The state of the server that follows from a failed call; undefined if none follows. */
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
