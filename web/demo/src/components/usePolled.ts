import { useCallback, useEffect, useState } from 'react';

/** What was loaded last, loaded again every so often while the page is seen; `reload` does at once. */
export function usePolled<T>(load: () => Promise<T>, every: number, onError: (error: unknown) => void): { value: T | null; reload: () => void } {
  const [value, setValue] = useState<T | null>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let current = true;
    const once = () => {
      if (document.visibilityState === 'visible' || turn === 0) load().then((loaded) => current && setValue(loaded), (error: unknown) => current && onError(error));
    };
    once();
    const timer = setInterval(once, every);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [load, every, onError, turn]);
  return { value, reload: useCallback(() => setTurn((n) => n + 1), []) };
}
