import type { Kind } from '../content/identify.js';
import { sizeText } from '../wording.js';
import { DicomView } from './DicomView.js';
import { Facts } from './Facts.js';
import { FhirView } from './FhirView.js';
import type { Opened } from './RecordPane.js';
import { useObjectUrl } from './useObjectUrl.js';

/** The opened file, rendered by its kind, with a button that saves a copy. */
export function OpenedView({ opened, kind }: { opened: Opened; kind: Kind }) {
  const { file, bytes } = opened;
  const url = useObjectUrl(file);
  return (
    <>
      {kind === 'dicom' && <DicomView bytes={bytes} />}
      {kind === 'fhir' && <FhirView bytes={bytes} />}
      {kind === 'image' && url && (
        <figure className="picture">
          <img src={url} alt={`The stored image ${file.name}`} />
        </figure>
      )}
      {kind === 'file' && (
        <Facts
          rows={[
            ['Name', file.name],
            ['Type', file.type],
            ['Size', sizeText(file.size)],
          ]}
        />
      )}
      <p>
        <a className="button quiet" href={url} download={file.name}>
          Save a copy
        </a>
      </p>
    </>
  );
}
