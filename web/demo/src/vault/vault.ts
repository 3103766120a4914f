import { type EncryptedStorage, createEncryptedStorage } from '@coffer-storage/coffer';
import { DemoError } from '../demo-error.js';

export const DATABASE = 'coffer-demo';

/** The unlocked vault: one database, one password, two stores that share its keys and connection. */
export interface Vault {
  records: EncryptedStorage;
  settings: EncryptedStorage;
}

/** Opens the vault, or creates it at the first visit. Rejects with `wrong_secret` if the password is wrong. */
export async function openVault(password: string): Promise<Vault> {
  const unlock = { password };
  const [records, settings] = await Promise.all([
    createEncryptedStorage(DATABASE, 'records', { unlock }),
    createEncryptedStorage(DATABASE, 'settings', { unlock }),
  ]);
  return { records, settings };
}

/** Drops the keys from memory. The sealed records stay on the disk. */
export function lockVault(vault: Vault): void {
  vault.records.close();
  vault.settings.close();
}

/** Whether an earlier visit created a vault; false if the browser cannot list databases. */
export async function vaultExists(): Promise<boolean> {
  try {
    return (await indexedDB.databases()).some(({ name }) => name === DATABASE);
  } catch {
    return false;
  }
}

/** Deletes the vault with all records. Rejects with `database_blocked` while another tab has it open. */
export function deleteVault(): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(DATABASE);
    request.onsuccess = () => resolve();
    request.onerror = () =>
      reject(new DemoError('connection_lost', 'the browser could not delete the vault'));
    request.onblocked = () =>
      reject(new DemoError('database_blocked', 'another tab has the vault open'));
  });
}
