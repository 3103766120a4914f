import type { Vault } from '../vault/vault.js';
import { CodeCard } from './CodeCard.js';
import { StraightLine } from './StraightLine.js';
import { TryIt } from './TryIt.js';
import { Unlock } from './Unlock.js';

/** The first page: the purpose of Coffer, and the form that opens the vault. */
export function Welcome({ onOpen }: { onOpen: (vault: Vault) => void }) {
  return (
    <>
      <div className="welcome">
        <div className="welcome-text">
          <h1>Health data, encrypted wherever it is stored.</h1>
          <p className="lead">
            Browsers and caches write their data to disks as plaintext. Coffer encrypts every value
            first: one call in your frontend, one in your backend, one format for both.
          </p>
          <ul className="points">
            <li>In the browser, IndexedDB contains ciphertext.</li>
            <li>In the server’s cache, Redis or the embedded store contains ciphertext.</li>
            <li>Keys are in memory only, and are dropped when the vault is locked.</li>
          </ul>
        </div>
        <Unlock onOpen={onOpen} />
      </div>
      <TryIt />
      <StraightLine item={null} />
      <CodeCard />
    </>
  );
}
