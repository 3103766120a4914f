import { useEffect, useState } from 'react';

/** What was loaded last, loaded again every so often while the page is seen. Keep both functions stable by useCallback. */
export function usePolled<T>(load: () => Promise<T>, every: number, onError: (error: unknown) => void): T | null {
  const [value, setValue] = useState<T | null>(null);
  useEffect(() => {
    let [current, busy] = [true, false];
    const once = async () => {
      if (busy) return;
      busy = true;
      try {
        const loaded = await load();
        if (current) setValue(loaded);
      } catch (error) {
        if (current) onError(error);
      }
      busy = false;
    };
    void once();
    const timer = setInterval(() => document.visibilityState === 'visible' && void once(), every);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [load, every, onError]);
  return value;
}
