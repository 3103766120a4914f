import type { EncryptedStorage } from '@coffer-storage/coffer';
import { useEffect, useRef, useState } from 'react';
import { type Problem, problemOf } from '../problem.js';
import { openRecord, valueName } from '../vault/records.js';
import { flipOneBit } from '../vault/tamper.js';
import { ProblemNote } from './ProblemNote.js';

interface Props {
  storage: EncryptedStorage;
  id: string;
  onChange: () => void;
}

/** Flips one bit on the disk, and shows that Coffer refuses the record. */
export function TamperPanel({ storage, id, onChange }: Props) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const panel = useRef<HTMLDivElement>(null);
  const restore = useRef<(() => Promise<void>) | null>(null);

  // Restore the record when the view is left.
  useEffect(() => () => void restore.current?.(), []);

  useEffect(() => {
    if (problem) panel.current?.scrollIntoView({ block: 'nearest' }); // the visitor pressed the button to see the refusal
  }, [problem]);

  async function flip() {
    try {
      restore.current = await flipOneBit('records', valueName(id));
      await openRecord(storage, id);
    } catch (error) {
      setProblem(problemOf(error));
    }
    onChange();
  }

  async function putBack() {
    await restore.current?.();
    restore.current = null;
    setProblem(null);
    onChange();
  }

  return (
    <div className="tamper" ref={panel}>
      <div>
        <h3>What if somebody changes the disk?</h3>
        <p className="hint">
          Change one bit in the middle of the sealed value, directly in IndexedDB, as an attacker
          with access to the disk could. Leaving this view puts the bit back.
        </p>
      </div>
      {problem ? (
        <button type="button" className="button" onClick={putBack}>
          Put the bit back
        </button>
      ) : (
        <button type="button" className="button danger" onClick={flip}>
          Flip one bit
        </button>
      )}
      {problem && <ProblemNote problem={problem} />}
    </div>
  );
}
