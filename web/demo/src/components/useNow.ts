import { useEffect, useState } from 'react';

/** Returns the time in milliseconds since 1970, updated each second while the page is visible. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(
      () => document.visibilityState === 'visible' && setNow(Date.now()),
      1000,
    );
    return () => clearInterval(timer);
  }, []);
  return now;
}
