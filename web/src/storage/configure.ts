import { type DataClassification, classNumber } from '../core/classification.js';
import { type CoreSource, setCoreSource } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import { copyContext } from '../crypto/sealer.js';
import { encodeValue } from '../crypto/values.js';
import type { Unlock } from '../unlock/unlock.js';
import { EncryptedStorage } from './storage.js';
import { type VaultOptions, openVault } from './vault.js';

/** Settings for a whole app, for {@link configure}. */
export interface Configuration extends VaultOptions {
  /** What opens the storage. */
  unlock?: Unlock;
  /** Where coffer.wasm is, if not beside this module. */
  wasm?: CoreSource;
}

/** Options of {@link createEncryptedStorage}; what is left out is taken from {@link configure}. */
export interface StorageOptions extends VaultOptions {
  unlock?: Unlock;
  /** The lowest classification to return: a stored package of a lower one is refused with `class_too_low`. */
  least?: DataClassification;
}

let configuration: Configuration = {};
let shared: Promise<EncryptedStorage> | undefined;

/** Sets the key source and other settings once per app. Called again, it replaces what it names, and the default store is opened again; calls made before are completed. */
export function configure(settings: Configuration): void {
  configuration = { ...configuration, ...settings };
  if (settings.wasm !== undefined) setCoreSource(settings.wasm);
  retire(shared);
}

/** Closes a default store in a task of its own: calls that wait for it are made before, because they continue in microtasks. */
function retire(opening: typeof shared): void {
  if (shared === opening) shared = undefined;
  opening?.then(
    (storage) => setTimeout(() => storage.close()),
    () => undefined,
  );
}

/**
 * Opens an encrypted store; one database is one vault, created at first use.
 * Rejects with `not_configured` without a key source, `wrong_secret` if it does not open the vault, `unsupported_version` for a
 * database of other software, and `database_blocked` if the database does not open within 10 seconds. If the browser lacks something,
 * the code is `wasm_unavailable`, `webcrypto_unavailable` or `indexeddb_unavailable`.
 */
export async function createEncryptedStorage(
  dbName = 'coffer',
  storeName = 'default',
  options: StorageOptions = {},
): Promise<EncryptedStorage> {
  if (typeof dbName !== 'string' || typeof storeName !== 'string')
    throw errorOf('invalid_argument', 'a name is a text');
  const {
    unlock = configuration.unlock,
    iterations = configuration.iterations,
    environment = configuration.environment,
    least,
  } = options;
  if (!unlock) throw errorOf('not_configured');
  if (least) classNumber(least);
  return new EncryptedStorage(
    await openVault(dbName, unlock, { iterations, environment }),
    storeName,
    least,
  );
}

/** The app's default store: `createEncryptedStorage()`, opened once, and anew where its database was lost. Its vault must have been configured. */
export async function defaultStorage(): Promise<EncryptedStorage> {
  const opening = (shared ??= createEncryptedStorage());
  const storage = await opening.catch(() => undefined);
  if (storage && !storage.lost) return storage;
  retire(opening);
  return storage ? defaultStorage() : opening;
}

/** {@link EncryptedStorage.setEncrypted} on the default store. */
export async function setEncrypted(
  key: string,
  value: unknown,
  classification: DataClassification,
  context?: Readonly<Record<string, string>>,
): Promise<void> {
  const [encoded, copy] = [encodeValue(value).own(), copyContext(context)];
  return (await defaultStorage()).setEncrypted(key, encoded, classification, copy);
}

/** {@link EncryptedStorage.getDecrypted} on the default store. */
export async function getDecrypted<T = unknown>(key: string): Promise<T | null> {
  return (await defaultStorage()).getDecrypted<T>(key);
}
