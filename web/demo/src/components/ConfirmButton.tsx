import { type FocusEvent, type KeyboardEvent, useRef, useState } from 'react';

interface Props {
  label: string;
  /** The label of the second press. */
  ask: string;
  /** Whether the action cannot be undone. */
  danger?: boolean;
  onConfirm: () => void;
}

/** A button that acts at the second press. Escape, or moving the focus, cancels the first one. */
export function ConfirmButton({ label, ask, danger = false, onConfirm }: Props) {
  const [asked, setAsked] = useState(false);
  const returning = useRef(false); // whether the first button gets the focus back
  const close = (returns: boolean) => {
    returning.current = returns;
    setAsked(false);
  };
  // Safari does not focus a pressed button, so no element gets the focus then.
  const leave = ({ currentTarget, relatedTarget }: FocusEvent) =>
    relatedTarget && !currentTarget.contains(relatedTarget) && close(false);
  const closeOnEscape = ({ key }: KeyboardEvent) => key === 'Escape' && close(true);
  return asked ? (
    <span className="actions" onBlur={leave} onKeyDown={closeOnEscape}>
      <button
        type="button"
        className={danger ? 'button danger' : 'button primary'}
        onClick={() => (close(false), onConfirm())}
      >
        {ask}
      </button>
      <button type="button" className="button quiet" autoFocus onClick={() => close(true)}>
        Cancel
      </button>
    </span>
  ) : (
    <button
      type="button"
      className="button quiet"
      autoFocus={returning.current}
      onClick={() => setAsked(true)}
    >
      {label}
    </button>
  );
}
