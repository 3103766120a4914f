import { type ReactNode, useCallback } from 'react';
import type { Server } from '../server/useServer.js';
import { type Item, openRecord } from '../vault/records.js';
import type { Vault } from '../vault/vault.js';
import { dateText } from '../wording.js';
import { ClassBadge } from './ClassBadge.js';
import { ConfirmButton } from './ConfirmButton.js';
import { DiskView } from './DiskView.js';
import { OpenedView } from './OpenedView.js';
import { ProblemNote } from './ProblemNote.js';
import { ServerView } from './ServerView.js';
import { Tabs } from './Tabs.js';
import { useLoaded } from './useLoaded.js';

/** The opened file of a record. */
export interface Opened {
  file: File;
  bytes: Uint8Array<ArrayBuffer>;
}

interface Props {
  vault: Vault;
  server: Server;
  item: Item;
  onRemove: (id: string) => Promise<void>;
}

/** One record in three views: opened, on the disk, on the server. */
export function RecordPane({ vault, server, item, onRemove }: Props) {
  const { id } = item;
  const opened = useLoaded<Opened>(
    useCallback(async () => {
      const file = await openRecord(vault.records, id);
      return { file, bytes: new Uint8Array(await file.arrayBuffer()) };
    }, [vault, id]),
  );
  /** Renders a view of the opened file, or the progress or problem of opening it. */
  const withFile = (view: (opened: Opened) => ReactNode) =>
    opened.value ? (
      view(opened.value)
    ) : opened.problem ? (
      <ProblemNote problem={opened.problem} />
    ) : (
      <p className="hint">Opening…</p>
    );

  return (
    <>
      <header className="pane-head">
        <div>
          <h2>{item.about?.name ?? 'A record that does not open'}</h2>
          <p className="hint">
            <ClassBadge classification={item.classification} /> sealed {dateText(item.sealedAt)}
          </p>
        </div>
        <ConfirmButton
          label="Delete"
          ask="Delete permanently"
          danger
          onConfirm={() => onRemove(id)}
        />
      </header>
      <Tabs
        label="Views of the record"
        tabs={[
          {
            title: 'Opened',
            content: () =>
              withFile((o) => <OpenedView opened={o} kind={item.about?.kind ?? 'file'} />),
          },
          {
            title: 'On the disk',
            content: () => <DiskView storage={vault.records} item={item} opened={opened.value} />,
          },
          {
            title: 'On the server',
            content: () => withFile((o) => <ServerView server={server} item={item} opened={o} />),
          },
        ]}
      />
    </>
  );
}
