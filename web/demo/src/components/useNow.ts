import { useEffect, useState } from 'react';

/** The time in milliseconds since 1970, anew each second while the page is seen. */
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
