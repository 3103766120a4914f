import { useId, useMemo, useState } from 'react';
import { fieldsOf } from '../package/layout.js';
import { fieldAt, findText } from '../package/search.js';
import type { Item } from '../vault/records.js';
import type { Opened } from './RecordPane.js';

/** Searches a text in the file and in its package. Only the file contains it. */
export function PlaintextSearch({
  sealed,
  opened,
  item,
}: {
  sealed: Uint8Array;
  opened: Opened;
  item: Item;
}) {
  const id = useId();
  const [text, setText] = useState(() => tellingText(opened.bytes, item));
  const inFile = useMemo(() => findText(opened.bytes, text), [opened, text]);
  const inPackage = useMemo(() => findText(sealed, text), [sealed, text]);
  const field = inPackage < 0 ? undefined : fieldAt(fieldsOf(sealed), inPackage);
  return (
    <div className="search">
      <label htmlFor={id}>Look for a text in both</label>
      <input
        id={id}
        type="text"
        value={text}
        onChange={(event) => setText(event.target.value)}
        autoComplete="off"
        spellCheck={false}
      />
      <dl aria-live="polite" className="search-results">
        <div className={inFile >= 0 ? 'found' : ''}>
          <dt>Opened file</dt>
          <dd>{inFile < 0 ? 'not there' : `at byte ${inFile}`}</dd>
        </div>
        <div className={inPackage >= 0 ? 'found' : 'absent'}>
          <dt>Sealed package</dt>
          <dd>
            {inPackage < 0
              ? 'nowhere'
              : `at byte ${inPackage}, in the field “${field?.name ?? ''}”`}
          </dd>
        </div>
      </dl>
    </div>
  );
}

/** A text that the file contains: the patient's name, or the magic number of the format. */
function tellingText(bytes: Uint8Array, { about }: Item): string {
  const words = (about?.title ?? '').split(' ').sort((a, b) => b.length - a.length);
  return (
    [...words, 'DICM', 'resourceType', 'PNG', 'JFIF', 'Exif'].find(
      (text) => findText(bytes, text) >= 0,
    ) ?? ''
  );
}
