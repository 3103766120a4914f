import type { Vault } from '../vault/vault.js';
import { CodeCard } from './CodeCard.js';
import { StraightLine } from './StraightLine.js';
import { TryIt } from './TryIt.js';
import { Unlock } from './Unlock.js';

/** What a visitor sees first: what Coffer is for, and the door. */
export function Welcome({ onOpen }: { onOpen: (vault: Vault) => void }) {
  return (
    <>
      <div className="welcome">
        <div className="welcome-text">
          <h1>Health data, sealed wherever it rests.</h1>
          <p className="lead">
            Browsers and caches keep what they are given in plain sight on a disk. Coffer seals
            every value before it gets there: one call in your front end, one in your back end, one
            format for both.
          </p>
          <ul className="points">
            <li>In the browser, IndexedDB holds ciphertext.</li>
            <li>In the server’s cache, Redis holds ciphertext.</li>
            <li>Keys live in memory, and go when the vault is locked.</li>
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
