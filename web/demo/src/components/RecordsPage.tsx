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
  /** The id of the shown record. */
  chosen: string | null;
  onChoose: (id: string | null) => void;
}

/** Scrolls the record into view. A new object for each choice, also of the same record. */
interface Move {
  /** Whether the pressed button was removed, so that the record must get the focus. */
  takeFocus: boolean;
}

/** The records: a form and the list on the left, the chosen record on the right. */
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
      <p className="nothing-title">Look at the bytes on the disk.</p>
      <ol className="nothing-steps">
        <li>Take a sample, or drop a file of your own.</li>
        <li>Choose how sensitive it is, and store it.</li>
        <li>Compare the opened record with the bytes on the disk.</li>
      </ol>
    </div>
  ) : (
    <div className="nothing">
      <p className="nothing-title">Choose a record.</p>
      <p>You see it opened, its bytes on the disk, and its bytes in the server’s cache.</p>
    </div>
  );
}
