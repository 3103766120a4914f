import { DataClassification, EncryptionService } from '@coffer-storage/coffer';
import { useCallback, useId, useState } from 'react';
import { hex } from '../package/layout.js';
import { textRun } from '../package/rows.js';
import { ProblemNote } from './ProblemNote.js';
import { useLoaded } from './useLoaded.js';
import { useNarrow } from './useNarrow.js';

/** Uses a random key of this page view. The typed text is not stored. */
const service = new EncryptionService({ masterKey: crypto.getRandomValues(new Uint8Array(32)) });

/** Shows the sealed bytes of a text while it is typed. */
export function TryIt() {
  const id = useId();
  const [text, setText] = useState('Marta Lindqvist, nodule in the right lung');
  const sealed = useLoaded(
    useCallback(() => service.encryptBinary(text, DataClassification.PHI), [text]),
  );
  return (
    <section className="card try-it" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>Try it: type something</h2>
      <div>
        <label htmlFor={id}>Your app stores</label>
        <input
          id={id}
          type="text"
          value={text}
          maxLength={200}
          autoComplete="off"
          onChange={(event) => setText(event.target.value)}
        />
      </div>
      <div>
        <p className="try-it-label">The disk contains</p>
        {sealed.problem ? <ProblemNote problem={sealed.problem} /> : <Bytes bytes={sealed.value} />}
      </div>
    </section>
  );
}

const TAIL = 48;

/** The end of a package, which contains the value and the tag. */
function Bytes({ bytes }: { bytes: Uint8Array | null }) {
  const width = useNarrow() ? 8 : 16;
  const shown = bytes?.subarray(-TAIL) ?? new Uint8Array(TAIL);
  const rows = Array.from({ length: TAIL / width }, (_, i) =>
    shown.subarray(i * width, (i + 1) * width),
  );
  return (
    <div className="try-it-bytes" role="img" aria-label="The sealed bytes, which are unreadable">
      {rows.map((row, i) => (
        <p key={i}>
          {hex(row).replace(/../g, '$& ')} {textRun(row)}
        </p>
      ))}
    </div>
  );
}
