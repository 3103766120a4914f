import type { Server, ServerState } from '../server/useServer.js';

const words: Record<ServerState, string> = {
  opening: 'Server: …',
  'signed-out': 'Server: not signed in',
  checking: 'Server: connecting…',
  ready: 'Server: connected',
  refused: 'Server: token refused',
  offline: 'Server: not reachable',
};

/** Whether the server's cache can be used, as a word and a colour. */
export function ServerStatus({ state }: Pick<Server, 'state'>) {
  return (
    <p className={`server-status ${state}`} role="status">
      <span className="dot" aria-hidden="true" />
      {words[state]}
    </p>
  );
}
