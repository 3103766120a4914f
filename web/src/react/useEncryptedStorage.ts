import { useCallback, useEffect, useState } from 'react';
import { DataClassification, type EncryptedStorage, defaultStorage } from '../index.js';

/** What {@link useEncryptedStorage} returns. */
export interface EncryptedValue<T> {
  /** The value; `null` while it loads, and where there is none. */
  value: T | null;
  loading: boolean;
  /** Why the last load or update failed; `null` after one that did not. */
  error: Error | null;
  /** Stores a new value; resolves when it is stored, rejects where it could not be, with the earlier value in place. */
  updateValue(value: T): Promise<void>;
}

/**
 * One encrypted value as React state, from the default store (see `configure`) or the given one.
 * The class is that of what `updateValue` writes; without one it is `confidential`.
 */
export function useEncryptedStorage<T>(
  key: string,
  classification: DataClassification = DataClassification.CONFIDENTIAL,
  storage?: EncryptedStorage,
): EncryptedValue<T> {
  const [state, setState] = useState<State<T>>(() => unread(key, storage));
  // While rendering, so that no effect sees the state of another key.
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

interface State<T> extends Pick<EncryptedValue<T>, 'value' | 'loading' | 'error'> {
  key: string;
  storage: EncryptedStorage | undefined;
  /** Since the key is shown: what was loaded is old then. */
  written: boolean;
}

function unread<T>(key: string, storage: EncryptedStorage | undefined): State<T> {
  return { key, storage, value: null, loading: true, error: null, written: false };
}

function open(storage: EncryptedStorage | undefined): Promise<EncryptedStorage> {
  return storage ? Promise.resolve(storage) : defaultStorage();
}
