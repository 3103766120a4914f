import { useEffect, useRef, useState } from 'react';
import { Header } from './components/Header.js';
import { Welcome } from './components/Welcome.js';
import { Workspace } from './components/Workspace.js';
import { type Vault, lockVault } from './vault/vault.js';

/** Locked, the page says what Coffer is for and asks for the password; unlocked, it is the workspace. */
export function App() {
  const [vault, setVault] = useState<Vault | null>(null);
  const main = useRef<HTMLElement>(null);
  const shown = useRef(vault);
  useEffect(() => {
    if (shown.current !== vault) main.current?.focus({ preventScroll: true }); // the button that had the focus is gone
    shown.current = vault;
  }, [vault]);
  const lock = () => {
    if (vault) lockVault(vault);
    setVault(null);
  };
  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <Header onLock={vault ? lock : null} />
      <main className="page" id="main" tabIndex={-1} ref={main}>
        {vault ? <Workspace vault={vault} /> : <Welcome onOpen={setVault} />}
      </main>
      <footer className="footer page">
        <p>
          Everything on this page is sealed and opened by the same code that ships in the npm
          package <code>coffer</code>. The samples are made up.{' '}
          <a href="./v1/docs">API reference</a> · <a href="./licenses.txt">Licences</a>
        </p>
      </footer>
    </>
  );
}
