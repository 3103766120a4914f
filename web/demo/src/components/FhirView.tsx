import { useMemo } from 'react';
import {
  type Resource,
  entriesOf,
  formatJson,
  parseFhir,
  summarize,
  titleOf,
} from '../content/fhir.js';
import { sizeText } from '../wording.js';
import { Facts } from './Facts.js';

/** The page shows at most this many characters. The file is complete. */
const MAX_SHOWN = 200_000;
const MAX_ENTRIES = 50;

/** A FHIR resource: a summary and the JSON. */
export function FhirView({ bytes }: { bytes: Uint8Array }) {
  const text = useMemo(() => new TextDecoder().decode(bytes), [bytes]);
  const resource = useMemo(() => parseFhir(text), [text]);
  const json = useMemo(() => formatJson(text), [text]);
  return (
    <>
      {resource && <Summary resource={resource} />}
      <details className="json" open={json.length < 10_000}>
        <summary>The resource as JSON, {sizeText(bytes.length)}</summary>
        <pre tabIndex={0}>{json.slice(0, MAX_SHOWN)}</pre>
        {json.length > MAX_SHOWN && <p className="hint">Cut here. Save a copy to see all of it.</p>}
      </details>
    </>
  );
}

function Summary({ resource }: { resource: Resource }) {
  const entries = entriesOf(resource);
  return (
    <div className="fhir">
      <p className="fhir-title">
        <span className="badge plain">{resource.resourceType}</span> {titleOf(resource)}
      </p>
      <Facts rows={summarize(resource)} />
      {entries.length > 0 && (
        <ul className="entries" aria-label="Resources in this bundle">
          {entries.slice(0, MAX_ENTRIES).map((entry, i) => (
            <li key={i}>
              <span className="badge plain">{entry.resourceType}</span> {titleOf(entry)}
            </li>
          ))}
        </ul>
      )}
      {entries.length > MAX_ENTRIES && (
        <p className="hint">And {entries.length - MAX_ENTRIES} more.</p>
      )}
    </div>
  );
}
