import { Icon } from './Icon.js';
import { ThemeToggle } from './ThemeToggle.js';

/** The header of the page. `onLock` is null while the vault is locked. */
export function Header({ onLock }: { onLock: (() => void) | null }) {
  return (
    <header className="header">
      <div className="header-inner page">
        <p className="brand">
          <Icon name="coffer" />
          Coffer
        </p>
        <div className="header-end">
          <ThemeToggle />
          {onLock ? (
            <button type="button" className="button quiet" onClick={onLock}>
              <Icon name="lock" />
              Lock
            </button>
          ) : (
            <p className="lock-state">
              <Icon name="lock" />
              Locked
            </p>
          )}
        </div>
      </div>
    </header>
  );
}
