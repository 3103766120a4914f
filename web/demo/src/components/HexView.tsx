import { useMemo, useState } from 'react';
import { type Field, fieldsOf } from '../package/layout.js';
import { type Row, rowsOf, textRun } from '../package/rows.js';
import { sizeText } from '../wording.js';
import { useNarrow } from './useNarrow.js';

/** The bytes of a package, with a colour for each field of the header and a list that explains the fields. */
export function HexView({ bytes, label }: { bytes: Uint8Array; label: string }) {
  const fields = useMemo(() => fieldsOf(bytes), [bytes]);
  const width = useNarrow() ? 8 : 16;
  const { rows, hidden } = useMemo(() => rowsOf(bytes, fields, width), [bytes, fields, width]);
  const [marked, setMarked] = useState<Field | null>(null);
  return (
    <div className="hex-view">
      <div className={marked ? 'hex marking' : 'hex'} role="img" aria-label={label}>
        {rows.map((row) => (
          <HexRow key={row.at} row={row} marked={marked} gap={row.afterGap ? hidden : 0} />
        ))}
      </div>
      <ul
        className="legend"
        aria-label="Fields of the package"
        onMouseLeave={() => setMarked(null)}
      >
        {fields.map((field) => (
          <li key={field.name}>
            <button
              type="button"
              aria-pressed={field === marked}
              onClick={() => setMarked(field)}
              onMouseEnter={() => setMarked(field)}
              onFocus={() => setMarked(field)}
              onBlur={() => setMarked(null)}
            >
              <span className={`swatch tone-${field.tone}`} />
              <span className="legend-name">{field.name}</span>
              <span className="legend-meaning">{field.meaning}</span>
              <span className="legend-size">{sizeText(field.end - field.start)}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** One line: the offset, the bytes, and the bytes as text. `gap` is the number of omitted bytes before it. */
function HexRow({ row, marked, gap }: { row: Row; marked: Field | null; gap: number }) {
  const classOf = (field: Field) => `tone-${field.tone}${field === marked ? ' marked' : ''}`;
  return (
    <>
      {gap > 0 && <p className="hex-gap">{sizeText(gap)} not shown</p>}
      <p className="hex-row">
        <span className="hex-at">{row.at.toString(16).padStart(6, '0')}</span>
        <span className="hex-bytes">
          {row.runs.map(({ field, bytes }) => (
            <span key={field.name} className={classOf(field)}>
              {Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ')}
            </span>
          ))}
        </span>
        <span className="hex-text">
          {row.runs.map(({ field, bytes }) => (
            <span key={field.name} className={classOf(field)}>
              {textRun(bytes)}
            </span>
          ))}
        </span>
      </p>
    </>
  );
}
