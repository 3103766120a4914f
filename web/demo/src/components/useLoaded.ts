import { useEffect, useState } from 'react';
import { type Problem, problemOf } from '../problem.js';

/** The result of a load. Both are `null` while it is in progress. */
export interface Loaded<T> {
  value: T | null;
  problem: Problem | null;
}

/** Runs `load` when the function changes (wrap it in useCallback). Results of earlier functions are dropped. */
export function useLoaded<T>(load: () => Promise<T>): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>({ value: null, problem: null });
  useEffect(() => {
    let current = true;
    load().then(
      (value) => current && setLoaded({ value, problem: null }),
      (error: unknown) => current && setLoaded({ value: null, problem: problemOf(error) }),
    );
    return () => {
      current = false;
    };
  }, [load]);
  return loaded;
}
