import { useEffect, useState } from 'react';
import { type Problem, problemOf } from '../problem.js';

/** What a load brought; both `null` while it is under way. */
export interface Loaded<T> {
  value: T | null;
  problem: Problem | null;
}

/** Runs `load` when the function changes (keep it stable by useCallback); what an earlier one brings is not shown any more. */
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
