import { useCallback, useEffect, useState } from 'react';
import { DataClassification, type EncryptedStorage, defaultStorage } from '../index.js';

/** The result of {@link useEncryptedStorage}. */
export interface EncryptedValue<T> {
  /** The value. `null` while it loads and if the name has no entry. */
  value: T | null;
  /** Whether the value is being loaded. */
  loading: boolean;
  /** The error of the last load or update. `null` if it succeeded. */
  error: Error | null;
  /** Stores a new value. Resolves when it is on disk. If it rejects, the earlier value is unchanged. */
  updateValue(value: T): Promise<void>;
}

/**
 * Provides one encrypted value as React state.
 *
 * @typeParam T The type of the value. It is not checked.
 * @param key The name of the entry.
 * @param classification The class of values that `updateValue` stores.
 * @param storage The store. Default: the default store, see `configure`.
 *
 * @example Edit a setting
 * ```tsx
 * import { configure } from '@coffer-storage/coffer';
 * import { useEncryptedStorage } from '@coffer-storage/coffer/react';
 *
 * configure({ unlock: { password: 'correct horse battery staple' } }); // once, before the first render
 *
 * export function ThemeButton() {
 *   const { value, loading, error, updateValue } = useEncryptedStorage<string>('theme', 'internal');
 *   if (loading) return <p>Loading…</p>;
 *   if (error) return <p role="alert">{error.message}</p>;
 *   const next = value === 'dark' ? 'light' : 'dark';
 *   return <button onClick={() => void updateValue(next)}>Switch to {next}</button>;
 * }
 * ```
 */
export function useEncryptedStorage<T = unknown>(
  key: string,
  classification: DataClassification = DataClassification.CONFIDENTIAL,
  storage?: EncryptedStorage,
): EncryptedValue<T> {
  const [state, setState] = useState<State<T>>(() => unread(key, storage));
  // Reset while rendering, because effects would still see the state of the former key.
  if (state.key !== key || state.storage !== storage) setState(unread(key, storage));

  const change = useCallback(
    (next: (s: State<T>) => Partial<State<T>>) =>
      setState((s) => (s.key === key && s.storage === storage ? { ...s, ...next(s) } : s)),
    [key, storage],
  );

  useEffect(() => {
    let ended = false;
    const show = (value: T | null, error?: Error) => {
      if (!ended)
        change((s) => (s.written ? {} : { value, loading: false, error: error ?? s.error }));
    };
    open(storage)
      .then((s) => s.getDecrypted<T>(key))
      .then(
        (value) => show(value),
        (error: Error) => show(null, error),
      );
    return () => void (ended = true);
  }, [key, storage, change]);

  const updateValue = useCallback(
    async (value: T) => {
      try {
        await (await open(storage)).setEncrypted(key, value, classification);
        change(() => ({ value, loading: false, error: null, written: true }));
      } catch (error) {
        change(() => ({ error: error as Error }));
        throw error;
      }
    },
    [key, classification, storage, change],
  );

  return { value: state.value, loading: state.loading, error: state.error, updateValue };
}

/** The state of the hook for one key and store. */
interface State<T> extends Pick<EncryptedValue<T>, 'value' | 'loading' | 'error'> {
  key: string;
  storage: EncryptedStorage | undefined;
  /** Whether `updateValue` stored a value since the key was set. A value loaded before is then stale. */
  written: boolean;
}

function unread<T>(key: string, storage: EncryptedStorage | undefined): State<T> {
  return { key, storage, value: null, loading: true, error: null, written: false };
}

function open(storage: EncryptedStorage | undefined): Promise<EncryptedStorage> {
  return storage ? Promise.resolve(storage) : defaultStorage();
}
