import type { EncryptedStorage } from '@coffer-storage/coffer';
import { useCallback, useState } from 'react';
import { type Item, sealedRecord } from '../vault/records.js';
import { sizeText } from '../wording.js';
import { Facts } from './Facts.js';
import { HexView } from './HexView.js';
import { PlaintextSearch } from './PlaintextSearch.js';
import { ProblemNote } from './ProblemNote.js';
import type { Opened } from './RecordPane.js';
import { TamperPanel } from './TamperPanel.js';
import { useLoaded } from './useLoaded.js';

interface Props {
  storage: EncryptedStorage;
  item: Item;
  /** `null` while the file is being opened, or if it does not open. */
  opened: Opened | null;
}

/** The sealed package in IndexedDB. */
export function DiskView({ storage, item, opened }: Props) {
  const [version, setVersion] = useState(0); // of the record on the disk, which this view can change
  const sealed = useLoaded(
    useCallback(() => sealedRecord(storage, item.id), [storage, item.id, version]),
  );
  if (sealed.problem) return <ProblemNote problem={sealed.problem} />;
  if (!sealed.value) return <p className="hint">Reading…</p>;
  const { bytes, header } = sealed.value;
  return (
    <>
      <p>
        {header.classification === 'public'
          ? 'A public value is not encrypted: anyone can read it here, but a change of it is noticed.'
          : 'These are the bytes in IndexedDB. The header with its context is readable, and a change of it is noticed. The value is unreadable without the key.'}
      </p>
      <Facts
        rows={[
          ['Algorithm', header.algorithm],
          ['Key', `${header.keyId.slice(0, 12)}…`],
          ['On the disk', sizeText(bytes.length)],
          ['More than the file', opened ? sizeText(bytes.length - opened.bytes.length) : ''],
        ]}
      />
      {opened && <PlaintextSearch sealed={bytes} opened={opened} item={item} />}
      <TamperPanel storage={storage} id={item.id} onChange={() => setVersion((n) => n + 1)} />
      <HexView
        bytes={bytes}
        label={`The sealed package, ${sizeText(bytes.length)}, in hexadecimal`}
      />
    </>
  );
}
