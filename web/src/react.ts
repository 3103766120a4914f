import { useCallback, useEffect, useRef, useState } from 'react';
import { DataClassification, type EncryptedStorage, defaultStorage } from './index.js';

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
export function useEncryptedStorage<T>(key: string, classification: DataClassification = DataClassification.CONFIDENTIAL, storage?: EncryptedStorage): EncryptedValue<T> {
  const [state, setState] = useState<{ value: T | null; loading: boolean; error: Error | null }>({ value: null, loading: true, error: null });
  // Counts loads and updates: what an earlier one brings, or one of another key, is not shown any more.
  const turn = useRef(0);

  useEffect(() => {
    const mine = ++turn.current;
    const show = (value: T | null, error: Error | null) => mine === turn.current && setState({ value, loading: false, error });
    setState({ value: null, loading: true, error: null });
    open(storage)
      .then((s) => s.getDecrypted<T>(key))
      .then((value) => show(value, null), (error: Error) => show(null, error));
    return () => void turn.current++;
  }, [key, storage]);

  const updateValue = useCallback(
    async (value: T) => {
      const mine = ++turn.current;
      try {
        await (await open(storage)).setEncrypted(key, value, classification);
        if (mine === turn.current) setState({ value, loading: false, error: null });
      } catch (error) {
        if (mine === turn.current) setState((s) => ({ ...s, loading: false, error: error as Error }));
        throw error;
      }
    },
    [key, classification, storage],
  );

  return { ...state, updateValue };
}

function open(storage: EncryptedStorage | undefined): Promise<EncryptedStorage> {
  return storage ? Promise.resolve(storage) : defaultStorage();
}
