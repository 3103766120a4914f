import { useEffect, useRef, useState } from 'react';
import { Header } from './components/Header.js';
import { Welcome } from './components/Welcome.js';
import { Workspace } from './components/Workspace.js';
import { type Vault, lockVault } from './vault/vault.js';

/** The welcome page while the vault is locked, the workspace while it is unlocked. */
export function App() {
  const [vault, setVault] = useState<Vault | null>(null);
  const main = useRef<HTMLElement>(null);
  const shown = useRef(vault);
  useEffect(() => {
    if (shown.current !== vault) main.current?.focus({ preventScroll: true }); // the button that had the focus was removed
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
          This page seals and opens everything with the code of the npm package{' '}
          <code>@coffer-storage/coffer</code>. The samples are made up.{' '}
          <a href="./v1/docs">API reference</a> · <a href="./licenses.txt">Licences</a>
        </p>
      </footer>
    </>
  );
}
