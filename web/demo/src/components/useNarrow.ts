import { useSyncExternalStore } from 'react';

const query = matchMedia('(max-width: 639px)');

function subscribe(changed: () => void) {
  query.addEventListener('change', changed);
  return () => query.removeEventListener('change', changed);
}

/** Whether the screen is at most 639 pixels wide, as on a phone. */
export function useNarrow(): boolean {
  return useSyncExternalStore(subscribe, () => query.matches);
}
