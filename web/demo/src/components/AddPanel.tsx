import type { DataClassification } from '@coffer-storage/coffer';
import { useEffect, useEffectEvent, useState } from 'react';
import { type Content, identify } from '../content/identify.js';
import { type Problem, problemOf } from '../problem.js';
import { samples } from '../samples/index.js';
import { DraftForm } from './DraftForm.js';
import { Icon } from './Icon.js';
import { ProblemNote } from './ProblemNote.js';

type Store = (content: Content, classification: DataClassification) => Promise<void>;

/** Accepts files from a dialog, by drag and drop or from the samples, and asks for the class of each. */
export function AddPanel({ onAdd }: { onAdd: Store }) {
  const [drafts, setDrafts] = useState<Content[]>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [draft] = drafts;
  const over = useFileDrop((files) => void take(files));
  const next = () => setDrafts(([, ...rest]) => rest);

  async function take(files: Iterable<File | Promise<File>>) {
    setProblem(null);
    for (const file of files) {
      try {
        const content = await identify(await file);
        setDrafts((all) => [...all, content]);
      } catch (error) {
        setProblem(problemOf(error));
      }
    }
  }

  async function store(content: Content, classification: DataClassification) {
    await onAdd(content, classification);
    next();
  }

  return (
    <section className="card add" aria-labelledby="add-title">
      {over && (
        <div className="drop-veil" aria-hidden="true">
          <p>
            <Icon name="add" /> Drop it anywhere. It is sealed before it is stored.
          </p>
        </div>
      )}
      <h2 id="add-title">{draft ? 'Classify and store' : 'Add a record'}</h2>
      {problem && <ProblemNote problem={problem} />}
      {drafts.length > 1 && (
        <p className="hint">
          {drafts.length === 2
            ? 'Another file follows.'
            : `${drafts.length - 1} more files follow.`}
        </p>
      )}
      {draft ? (
        <DraftForm
          key={draft.file.name + drafts.length}
          content={draft}
          onStore={store}
          onCancel={next}
        />
      ) : (
        <Sources onFiles={take} />
      )}
    </section>
  );
}

/** Accepts files that are dropped anywhere, because the browser would navigate to a file that misses a small target. Returns whether a file is being dragged over the page. */
function useFileDrop(onFiles: (files: File[]) => void): boolean {
  const [over, setOver] = useState(false);
  const handle = useEffectEvent((event: DragEvent) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    setOver(event.type === 'dragover');
    if (event.type === 'drop') onFiles([...event.dataTransfer.files]);
  });
  useEffect(() => {
    const listener = (event: DragEvent) => handle(event);
    const leave = (event: DragEvent) => event.relatedTarget === null && setOver(false);
    window.addEventListener('dragover', listener);
    window.addEventListener('drop', listener);
    window.addEventListener('dragleave', leave);
    return () => {
      window.removeEventListener('dragover', listener);
      window.removeEventListener('drop', listener);
      window.removeEventListener('dragleave', leave);
    };
  }, []);
  return over;
}

function Sources({ onFiles }: { onFiles: (files: Iterable<File | Promise<File>>) => void }) {
  return (
    <>
      <label className="drop">
        <input
          type="file"
          multiple
          className="visually-hidden"
          onChange={(event) => {
            onFiles([...(event.target.files ?? [])]);
            event.target.value = ''; // so that the same file can be chosen again
          }}
        />
        <Icon name="add" />
        <span>
          <strong>Choose a file</strong> or drop it here
        </span>
        <span className="hint">DICOM, image or FHIR JSON, up to 64 MB</span>
      </label>
      <div className="samples" role="group" aria-label="Made-up samples">
        <span className="hint">No file at hand?</span>
        {samples.map(({ label, what, make }) => (
          <button
            key={label}
            type="button"
            className="button chip"
            onClick={() => onFiles([make()])}
          >
            {label} <small>{what}</small>
          </button>
        ))}
      </div>
    </>
  );
}
