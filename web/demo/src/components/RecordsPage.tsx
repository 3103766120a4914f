import type { DataClassification } from 'coffer';
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

/** Which record is shown; a new object at every choice, also of the same one. */
interface Choice {
  id: string | null;
  /** Whether what was pressed is gone, so that the keyboard goes on from the record. */
  takeFocus: boolean;
}

/** The records: add on the left, the list below, and the chosen one beside them. */
export function RecordsPage({ vault, server }: { vault: Vault; server: Server }) {
  const records = useRecords(vault.records);
  const [choice, setChoice] = useState<Choice>({ id: null, takeFocus: false });
  const [said, setSaid] = useState('');
  const pane = useRef<HTMLElement>(null);
  const item = records.items?.find(({ id }) => id === choice.id) ?? null;

  useEffect(() => {
    if (choice.takeFocus) pane.current?.focus({ preventScroll: true });
    // On a narrow screen the record is below the list.
    if (choice.id && matchMedia('(max-width: 899px)').matches) pane.current?.scrollIntoView();
  }, [choice]);

  async function add(content: Content, classification: DataClassification) {
    setChoice({ id: await records.add(content, classification), takeFocus: true });
    setSaid(`${content.file.name} was sealed and stored.`);
  }

  async function remove(id: string) {
    await records.remove(id);
    setChoice({ id: null, takeFocus: true });
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
          <RecordList items={records.items} chosen={choice.id} onChoose={(id) => setChoice({ id, takeFocus: false })} />
          {records.items && <StorageMeter items={records.items} />}
        </div>
        <section ref={pane} tabIndex={-1} className="card pane" aria-label="Record">
          {item ? <RecordPane key={item.id} vault={vault} server={server} item={item} onRemove={remove} /> : <NothingChosen empty={records.items?.length === 0} />}
        </section>
      </div>
    </>
  );
}

function NothingChosen({ empty }: { empty: boolean }) {
  return (
    <div className="nothing">
      <p className="nothing-title">{empty ? 'Store something first.' : 'Choose a record.'}</p>
      <p>
        {empty
          ? 'Take one of the samples, pick its class, and store it. Then look at what lies on the disk.'
          : 'You see it opened, as it lies on the disk, and as it lies in the server’s cache.'}
      </p>
    </div>
  );
}
