import { useCallback, useEffect, useState } from 'react';
import type { Problem } from '../problem.js';
import type { Loaded } from './useLoaded.js';

export interface Polled<T> extends Loaded<T> {
  /** Loads again at once. */
  reload(): void;
}

/**
 * Loads every `every` milliseconds while the page is visible. Returns the last value, and the problem of the last load if it failed. Stops after
 * `forbidden`. Wrap both functions in useCallback.
 */
export function usePolled<T>(
  load: () => Promise<T>,
  every: number,
  note: (error: unknown) => Problem,
): Polled<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>({ value: null, problem: null });
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    let [current, busy, refused] = [true, false, false];
    const once = async () => {
      if (busy || refused) return;
      busy = true;
      try {
        const value = await load();
        if (current) setLoaded({ value, problem: null });
      } catch (error) {
        if (current) {
          const problem = note(error);
          refused = problem.code === 'forbidden';
          setLoaded(({ value }) => ({ value, problem }));
        }
      }
      busy = false;
    };
    void once();
    const timer = setInterval(() => document.visibilityState === 'visible' && void once(), every);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [load, every, note, asked]);
  return { ...loaded, reload: useCallback(() => setAsked((n) => n + 1), []) };
}
