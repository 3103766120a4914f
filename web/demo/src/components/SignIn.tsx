import { type FormEvent, useRef, useState } from 'react';
import { type Problem, problemOf } from '../problem.js';
import type { Server } from '../server/useServer.js';
import { ClassBadge } from './ClassBadge.js';
import { ProblemNote } from './ProblemNote.js';

/** Asks for the server's token, stores it in the vault and tries it. */
export function SignIn({ server }: { server: Server }) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const field = useRef<HTMLInputElement>(null);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setProblem(null);
    await server
      .signIn(field.current?.value.trim() ?? '')
      .catch((error: unknown) => setProblem(problemOf(error)));
  }

  const shown = problem ?? server.problem;
  return (
    <form className="token" onSubmit={submit}>
      <label htmlFor="token">Server token</label>
      <div className="token-row">
        <input
          ref={field}
          id="token"
          type="password"
          required
          pattern="\s*[!-~]+\s*"
          title="letters, digits and signs, without spaces"
          autoComplete="off"
          aria-describedby="token-hint"
          aria-invalid={server.state === 'refused'}
        />
        <button type="submit" className="button primary" disabled={server.state === 'checking'}>
          {server.state === 'checking' ? 'Signing in…' : 'Sign in'}
        </button>
      </div>
      <p id="token-hint" className="hint">
        The server printed it at its first start, as “token: …”. It is kept in the vault, sealed as{' '}
        <ClassBadge classification="confidential" />.
      </p>
      {shown && <ProblemNote problem={shown} />}
    </form>
  );
}

/** Shows whether the server can be used, and the form if it needs a token. */
export function ServerGate({ server, children }: { server: Server; children: React.ReactNode }) {
  if (server.state === 'opening') return <p className="hint">Opening…</p>;
  if (server.state === 'signed-out' || server.state === 'refused')
    return <SignIn server={server} />;
  if (server.state === 'checking') return <p className="hint">Asking the server…</p>;
  return (
    <>
      {server.state === 'offline' && server.problem && (
        <ProblemNote
          problem={{
            ...server.problem,
            advice: 'This page tries again every few seconds.',
          }}
          calm
        />
      )}
      {children}
    </>
  );
}
