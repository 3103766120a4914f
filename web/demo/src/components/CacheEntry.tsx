import { useCallback, useState } from 'react';
import type { Problem } from '../problem.js';
import type { CacheItem } from '../server/entries.js';
import type { Server } from '../server/useServer.js';
import { dateText, sizeText } from '../wording.js';
import { Life } from './CacheRow.js';
import { ClassBadge } from './ClassBadge.js';
import { ConfirmButton } from './ConfirmButton.js';
import { Facts } from './Facts.js';
import { HexView } from './HexView.js';
import { ProblemNote } from './ProblemNote.js';
import { useLoaded } from './useLoaded.js';

interface Props {
  server: Server;
  item: CacheItem;
  now: number;
  onChange: () => Promise<void>;
}

/** An entry of the cache: its package, and buttons that extend or delete it. */
export function CacheEntry({ server, item, now, onChange }: Props) {
  const { client, note } = server;
  const [problem, setProblem] = useState<Problem | null>(null);
  const sealed = useLoaded(useCallback(() => client.getPackage(item.key), [client, item.key]));

  /** Changes the entry only if it is still the one that is shown (If-Match). */
  async function act(work: () => Promise<unknown>) {
    setProblem(null);
    try {
      await work();
    } catch (error) {
      setProblem(note(error));
    }
    await onChange();
  }

  return (
    <>
      <header className="pane-head">
        <div>
          <h2>{item.key}</h2>
          <p className="hint">
            <ClassBadge classification={item.classification} /> sealed {dateText(item.encryptedAt)}
          </p>
        </div>
        <span className="actions">
          <button
            type="button"
            className="button"
            onClick={() => act(() => client.expire(item.key, '1h', { ifMatch: item.etag }))}
          >
            Keep for an hour
          </button>
          <ConfirmButton
            label="Delete"
            ask="Delete permanently"
            danger
            onConfirm={() => act(() => client.delete(item.key, { ifMatch: item.etag }))}
          />
        </span>
      </header>
      {problem && <ProblemNote problem={problem} />}
      <p className="entry-life">
        <Life item={item} now={now} />
      </p>
      {sealed.problem && <ProblemNote problem={sealed.problem} />}
      {sealed.value && (
        <>
          <Facts
            rows={[
              ['Server’s key', `${item.keyId.slice(0, 12)}…`],
              ['Size in the store', sizeText(sealed.value.value.length)],
              [
                'Context',
                Object.entries(item.context)
                  .map(([name, value]) => `${name}: ${value}`)
                  .join(', '),
              ],
            ]}
          />
          <HexView
            bytes={sealed.value.value}
            label={`The package in the cache, ${sizeText(sealed.value.value.length)}, in hexadecimal`}
          />
        </>
      )}
    </>
  );
}
