/** The server's cache as the page knows it: whether a token opens it, and whether it is there at all. */
import { CofferError, DataClassification, type EncryptedStorage } from 'coffer';
import { CofferClient } from 'coffer/client';
import { useEncryptedStorage } from 'coffer/react';
import { useCallback, useEffect, useMemo, useState } from 'react';
import { type Problem, problemOf } from '../problem.js';

export type ServerState = 'opening' | 'signed-out' | 'checking' | 'ready' | 'refused' | 'offline';

export interface Server {
  state: ServerState;
  /** Why it is refused or offline, or why the token could not be kept. */
  problem: Problem | null;
  client: CofferClient;
  /** Whether the token administers keys. */
  operator: boolean;
  /** Keeps the token in the vault, and tries it. */
  signIn(token: string): Promise<void>;
  signOut(): Promise<void>;
  /** Tells of a call that failed: one that found nobody there makes the state `offline`. */
  note(error: unknown): Problem;
}

/** How often a server that was not there is looked for. */
const RETRY_MS = 3000;

export function useServer(settings: EncryptedStorage): Server {
  const token = useEncryptedStorage<string>('server token', DataClassification.CONFIDENTIAL, settings);
  const { value, updateValue } = token;
  const client = useMemo(() => new CofferClient('', { token: value || 'none', attempts: 1 }), [value]);
  const [seen, setSeen] = useState<{ client: CofferClient; state: ServerState; problem: Problem | null } | null>(null);
  const [operator, setOperator] = useState(false);
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
    // An operator's token opens no data, and a tenant's need not administer keys: one of the two is enough.
    const [data, keys] = await Promise.allSettled([client.list({ pageSize: 1 }).next(), client.rotations()]);
    setOperator(keys.status === 'fulfilled');
    if (data.status === 'fulfilled' || keys.status === 'fulfilled') setSeen({ client, state: 'ready', problem: null });
    else setSeen({ client, state: stateOf(data.reason) ?? 'refused', problem: problemOf(data.reason) });
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
  return { state, problem: token.error ? problemOf(token.error) : value ? (current?.problem ?? null) : null, client, operator: operator && state === 'ready', signIn, signOut, note };
}

/** What a failed call says of the server; undefined where it says nothing. */
function stateOf(error: unknown): ServerState | undefined {
  if (!(error instanceof CofferError)) return undefined;
  if (error.code === 'unreachable' || error.code === 'store_unavailable' || error.code === 'timeout') return 'offline';
  return error.code === 'unauthorized' || error.code === 'forbidden' ? 'refused' : undefined;
}
