import { type FormEvent, useEffect, useRef, useState } from 'react';
import { type Problem, problemOf } from '../problem.js';
import { type Vault, deleteVault, openVault, vaultExists } from '../vault/vault.js';
import { ProblemNote } from './ProblemNote.js';

const MIN_LENGTH = 8;

/** Asks for the password. The first visit creates the vault; later visits open it. */
export function Unlock({ onOpen }: { onOpen: (vault: Vault) => void }) {
  const [exists, setExists] = useState<boolean | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const field = useRef<HTMLInputElement>(null);

  useEffect(() => void vaultExists().then(setExists), []);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      onOpen(await openVault(field.current?.value ?? ''));
    } catch (error) {
      setProblem(problemOf(error));
      setBusy(false);
      field.current?.select();
    }
  }

  async function startOver() {
    try {
      await deleteVault();
      setExists(false);
      setProblem(null);
    } catch (error) {
      setProblem(problemOf(error));
    }
  }

  return (
    <section className="card unlock" aria-labelledby="unlock-title">
      <h2 id="unlock-title">{exists ? 'Unlock your vault' : 'Create your vault'}</h2>
      <form onSubmit={submit}>
        {/* Password managers store a password with a user name. */}
        <input
          type="text"
          name="username"
          autoComplete="username"
          value="Coffer demo"
          readOnly
          hidden
        />
        <label htmlFor="password">Password</label>
        <input
          ref={field}
          id="password"
          type="password"
          required
          minLength={exists ? undefined : MIN_LENGTH}
          autoComplete={exists ? 'current-password' : 'new-password'}
          aria-describedby="password-hint"
          aria-invalid={problem?.code === 'wrong_secret'}
        />
        <p id="password-hint" className="hint">
          {exists
            ? 'Your records are still here, encrypted. The password never left this browser and is not stored.'
            : `At least ${MIN_LENGTH} characters. It never leaves this browser and is not stored, so it cannot be recovered.`}
        </p>
        {problem && <ProblemNote problem={problem} />}
        <button type="submit" className="button primary wide" disabled={busy || exists === null}>
          {busy ? 'Deriving the key…' : exists ? 'Unlock' : 'Create the vault'}
        </button>
      </form>
      {exists && <StartOver onConfirm={startOver} />}
    </section>
  );
}

/** Deletes the vault if the password is forgotten. */
function StartOver({ onConfirm }: { onConfirm: () => void }) {
  return (
    <details className="start-over">
      <summary>Forgot the password?</summary>
      <p>
        Without it, this vault cannot be opened. You can delete the vault with all records, and
        create a new one.
      </p>
      <button type="button" className="button danger" onClick={onConfirm}>
        Delete the vault
      </button>
    </details>
  );
}
