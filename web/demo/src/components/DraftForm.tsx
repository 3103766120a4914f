import type { DataClassification } from '@coffer-storage/coffer';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { type Content, kindLabels } from '../content/identify.js';
import { type Problem, problemOf } from '../problem.js';
import { classifications, sizeText } from '../wording.js';
import { ClassBadge } from './ClassBadge.js';
import { Icon } from './Icon.js';
import { ProblemNote } from './ProblemNote.js';

interface Props {
  content: Content;
  onStore: (content: Content, classification: DataClassification) => Promise<void>;
  onCancel: () => void;
}

/** Asks for the class of a file, with a suggestion. */
export function DraftForm({ content, onStore, onCancel }: Props) {
  const [classification, setClassification] = useState(content.suggested);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const form = useRef<HTMLFormElement>(null);
  const { file, kind, title } = content;

  // The form replaces the pressed button, so it must get the focus.
  useEffect(() => form.current?.querySelector<HTMLInputElement>('input:checked')?.focus(), []);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    try {
      await onStore(content, classification);
    } catch (error) {
      setProblem(problemOf(error));
      setBusy(false);
    }
  }

  return (
    <form ref={form} className="draft" onSubmit={submit}>
      <div className="draft-file">
        <Icon name={kind} />
        <div>
          <p className="file-name">{file.name}</p>
          <p className="hint">
            {[kindLabels[kind], sizeText(file.size), title].filter(Boolean).join(' · ')}
          </p>
        </div>
      </div>
      <fieldset>
        <legend>How sensitive is it?</legend>
        {classifications.map(({ name, example }) => (
          <label key={name} className="class-choice">
            <input
              type="radio"
              name="classification"
              value={name}
              checked={classification === name}
              onChange={() => setClassification(name)}
            />
            <ClassBadge classification={name} />
            <span className="hint">{example}</span>
          </label>
        ))}
      </fieldset>
      {problem && <ProblemNote problem={problem} />}
      <div className="actions">
        <button type="submit" className="button primary" disabled={busy}>
          {busy ? 'Sealing…' : 'Seal and store'}
        </button>
        <button type="button" className="button quiet" onClick={onCancel} disabled={busy}>
          Cancel
        </button>
      </div>
    </form>
  );
}
