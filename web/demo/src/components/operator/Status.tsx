import type { ReactNode } from 'react';

/** A status as a colour and a sentence. */
export function Status({ well, children }: { well: boolean; children: ReactNode }) {
  return (
    <p className={well ? 'server-status ready' : 'server-status offline'} role="status">
      <span className="dot" aria-hidden="true" />
      {children}
    </p>
  );
}
