import { useState } from 'react';

/** Deletes at the second press. */
export function DeleteButton({ onConfirm }: { onConfirm: () => void }) {
  const [asked, setAsked] = useState(false);
  if (!asked) {
    return (
      <button type="button" className="button quiet" onClick={() => setAsked(true)}>
        Delete
      </button>
    );
  }
  return (
    <span className="actions">
      <button type="button" className="button danger" onClick={onConfirm}>
        Delete for good
      </button>
      <button type="button" className="button quiet" autoFocus onClick={() => setAsked(false)}>
        Keep
      </button>
    </span>
  );
}
