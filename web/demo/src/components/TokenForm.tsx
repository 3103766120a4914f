import { type FormEvent, useRef, useState } from 'react';
import { problemOf } from '../problem.js';
import { ClassBadge } from './ClassBadge.js';
import { Icon } from './Icon.js';
import { ProblemNote } from './ProblemNote.js';

interface Props {
  kept: boolean;
  failure: Error | null;
  onKeep: (token: string) => Promise<void>;
}

/** Takes the server's token once; it is kept in the vault like everything else. */
export function TokenForm({ kept, failure, onKeep }: Props) {
  const [replacing, setReplacing] = useState(false);
  const field = useRef<HTMLInputElement>(null);

  async function submit(event: FormEvent) {
    event.preventDefault();
    const token = field.current?.value.trim() ?? '';
    // A failure comes back as `failure`.
    await onKeep(token).then(() => setReplacing(false), () => undefined);
  }

  if (kept && !replacing) {
    return (
      <p className="token-kept">
        <Icon name="check" />
        <span>
          The server’s token is in the vault, sealed as <ClassBadge classification="confidential" />{' '}
          <button type="button" className="button link" onClick={() => setReplacing(true)}>
            Replace it
          </button>
        </span>
      </p>
    );
  }
  return (
    <form className="token" onSubmit={submit}>
      <label htmlFor="token">Server token</label>
      <div className="token-row">
        <input ref={field} id="token" type="password" required pattern="\s*[!-~]+\s*" title="letters, digits and signs, without spaces" autoComplete="off" aria-describedby="token-hint" />
        <button type="submit" className="button primary">
          Keep
        </button>
      </div>
      <p id="token-hint" className="hint">
        The server printed it at its first start, as “token: …”. It is kept in the vault, sealed as <ClassBadge classification="confidential" />
      </p>
      {failure && <ProblemNote problem={problemOf(failure)} />}
    </form>
  );
}
