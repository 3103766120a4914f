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
  const keys = useRef(0); // counts the keys shown: what comes of an earlier one is not shown any more
  const written = useRef(false); // since the key was shown: what was loaded is old then

  useEffect(() => {
    const mine = ++keys.current;
    written.current = false;
    const show = (value: T | null, error?: Error) => {
      if (mine === keys.current && !written.current) setState((s) => ({ value, loading: false, error: error ?? s.error }));
    };
    setState({ value: null, loading: true, error: null });
    open(storage)
      .then((s) => s.getDecrypted<T>(key))
      .then((value) => show(value), (error: Error) => show(null, error));
    return () => void keys.current++;
  }, [key, storage]);

  const updateValue = useCallback(
    async (value: T) => {
      const mine = keys.current;
      try {
        await (await open(storage)).setEncrypted(key, value, classification);
        if (mine !== keys.current) return;
        written.current = true;
        setState({ value, loading: false, error: null });
      } catch (error) {
        if (mine === keys.current) setState((s) => ({ ...s, error: error as Error }));
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
