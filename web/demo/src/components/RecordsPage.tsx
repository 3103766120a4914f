import type { DataClassification } from '@coffer-storage/coffer';
import { useEffect, useRef, useState } from 'react';
import type { Content } from '../content/identify.js';
import { useRecords } from '../vault/useRecords.js';
import type { Server } from '../server/useServer.js';
import type { Vault } from '../vault/vault.js';
import { AddPanel } from './AddPanel.js';
import { ProblemNote } from './ProblemNote.js';
import { RecordList } from './RecordList.js';
import { RecordPane } from './RecordPane.js';
import { StorageMeter } from './StorageMeter.js';
import { StraightLine } from './StraightLine.js';

interface Props {
  vault: Vault;
  server: Server;
  /** The record that is shown. */
  chosen: string | null;
  onChoose: (id: string | null) => void;
}

/** What brings the record into view; a new object at every choice, also of the same one. */
interface Move {
  /** Whether what was pressed is gone, so that the keyboard goes on from the record. */
  takeFocus: boolean;
}

/** The records: add on the left, the list below, and the chosen one beside them. */
export function RecordsPage({ vault, server, chosen, onChoose }: Props) {
  const records = useRecords(vault.records);
  const [move, setMove] = useState<Move | null>(null);
  const [said, setSaid] = useState('');
  const pane = useRef<HTMLElement>(null);
  const item = records.items?.find(({ id }) => id === chosen) ?? null;

  useEffect(() => {
    if (move?.takeFocus) pane.current?.focus({ preventScroll: true });
    // On a narrow screen the record is below the list.
    if (move && matchMedia('(max-width: 899px)').matches) pane.current?.scrollIntoView();
  }, [move]);

  function choose(id: string | null, takeFocus: boolean) {
    onChoose(id);
    setMove({ takeFocus });
  }

  async function add(content: Content, classification: DataClassification) {
    choose(await records.add(content, classification), true);
    setSaid(`${content.file.name} was sealed and stored.`);
  }

  async function remove(id: string) {
    await records.remove(id);
    choose(null, true);
    setSaid('The record was deleted.');
  }

  return (
    <>
      <StraightLine item={item} />
      <p className="visually-hidden" role="status">
        {said}
      </p>
      <div className="workspace">
        <div className="side">
          <AddPanel onAdd={add} />
          {records.problem && <ProblemNote problem={records.problem} />}
          <RecordList items={records.items} chosen={chosen} onChoose={(id) => choose(id, false)} />
          {records.items && <StorageMeter items={records.items} />}
        </div>
        <section ref={pane} tabIndex={-1} className="card pane" aria-label="Record">
          {item ? (
            <RecordPane key={item.id} vault={vault} server={server} item={item} onRemove={remove} />
          ) : (
            <NothingChosen empty={records.items?.length === 0} />
          )}
        </section>
      </div>
    </>
  );
}

function NothingChosen({ empty }: { empty: boolean }) {
  return empty ? (
    <div className="nothing">
      <p className="nothing-title">See what a disk gets to see.</p>
      <ol className="nothing-steps">
        <li>Take a sample, or drop a file of your own.</li>
        <li>Say how sensitive it is, and store it.</li>
        <li>Look at it opened, and at what lies on the disk instead.</li>
      </ol>
    </div>
  ) : (
    <div className="nothing">
      <p className="nothing-title">Choose a record.</p>
      <p>You see it opened, as it lies on the disk, and as it lies in the server’s cache.</p>
    </div>
  );
}
