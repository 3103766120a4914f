import { type DataClassification, classNumber } from '../core/classification.js';
import { type CoreSource, setCoreSource } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import { type Context, copyContext } from '../crypto/sealer.js';
import { encodeValue } from '../crypto/values.js';
import type { Unlock } from '../unlock/secret.js';
import { EncryptedStorage } from './storage.js';
import { type VaultOptions, openVault } from './vault.js';

/** The settings of a whole app, for {@link configure}. */
export interface Configuration extends VaultOptions {
  /** The secret that opens stores which {@link createEncryptedStorage} gets no `unlock` for. */
  unlock?: Unlock;
  /** The location or content of coffer.wasm. Default: coffer.wasm beside this module. */
  wasm?: CoreSource;
}

/** Options of {@link createEncryptedStorage}. Members that are left out are taken from {@link configure}. */
export interface StorageOptions extends VaultOptions {
  /** The secret that opens the vault. */
  unlock?: Unlock;
  /** The lowest class to return. An entry of a lower class is refused with `class_too_low`. Default: any class. */
  minClass?: DataClassification;
}

let configuration: Configuration = {};
let shared: Promise<EncryptedStorage> | undefined;

/**
 * Sets the secret and other settings once for the whole app. A later call replaces the settings that it names and
 * reopens the default store; calls made before it complete with the former settings.
 *
 * @example Configure once, then use the default store
 * ```ts
 * import { configure, getDecrypted, setEncrypted } from '@coffer-storage/coffer';
 *
 * configure({ unlock: { password: 'correct horse battery staple' } });
 * await setEncrypted('greeting', 'hello', 'internal');
 *
 * console.log(await getDecrypted('greeting')); // hello
 * ```
 */
export function configure(settings: Configuration): void {
  configuration = { ...configuration, ...settings };
  if (settings.wasm !== undefined) setCoreSource(settings.wasm);
  retire(shared);
}

/** Closes a default store in a later task. Calls that wait for the store continue in microtasks, so they run first. */
function retire(opening: typeof shared): void {
  if (shared === opening) shared = undefined;
  opening?.then(
    (storage) => setTimeout(() => storage.close()),
    () => undefined,
  );
}

/**
 * Opens an encrypted store in an IndexedDB database, and creates it at first use. All stores of a database
 * share the keys of its one vault.
 *
 * @param dbName The database's name.
 * @param storeName The store's name within the database. Each store has its own entries.
 *
 * @throws {@link KeyError} `not_configured` without a secret; `wrong_secret` if the secret does not open the vault.
 * @throws {@link InputError} `invalid_argument` for a name or option; `unsupported_version` if other software made the
 *   database; `kdf_out_of_range` for the iterations.
 * @throws {@link StorageError} `database_blocked` if another tab keeps the database from opening for 10 seconds.
 * @throws {@link EnvironmentError} `wasm_unavailable`, `webcrypto_unavailable` or `indexeddb_unavailable`.
 *
 * @example Open a store with the user's password
 * ```ts
 * import { createEncryptedStorage } from '@coffer-storage/coffer';
 *
 * const unlock = { password: 'correct horse battery staple' };
 * const storage = await createEncryptedStorage('clinic', 'patients', { unlock });
 * await storage.setEncrypted('P12345', { name: 'Ada', born: 1815 }, 'phi');
 * storage.close();
 * ```
 *
 * @example Refuse a wrong password
 * ```ts
 * import { CofferError, createEncryptedStorage } from '@coffer-storage/coffer';
 *
 * const storage = await createEncryptedStorage('diary', 'default', { unlock: { password: 'first' } });
 * storage.close();
 * try {
 *   await createEncryptedStorage('diary', 'default', { unlock: { password: 'second' } });
 * } catch (error) {
 *   console.log((error as CofferError).code); // wrong_secret
 * }
 * ```
 *
 * @example Accept only protected health information
 * ```ts
 * import { type CofferError, createEncryptedStorage } from '@coffer-storage/coffer';
 *
 * const unlock = { password: 'correct horse battery staple' };
 * const storage = await createEncryptedStorage('ward', 'charts', { unlock, minClass: 'phi' });
 * await storage.setEncrypted('note', 'not protected', 'internal');
 *
 * const reading = storage.getDecrypted('note');
 * console.log(await reading.catch((error: CofferError) => error.code)); // class_too_low
 * ```
 */
export async function createEncryptedStorage(
  dbName = 'coffer',
  storeName = 'default',
  options: StorageOptions = {},
): Promise<EncryptedStorage> {
  if (typeof dbName !== 'string' || typeof storeName !== 'string')
    throw errorOf('invalid_argument', 'a name is a string');
  const {
    unlock = configuration.unlock,
    iterations = configuration.iterations,
    environment = configuration.environment,
    minClass,
  } = options;
  if (!unlock) throw errorOf('not_configured');
  if (minClass) classNumber(minClass);
  const vault = await openVault(dbName, unlock, { iterations, environment });
  return new EncryptedStorage(vault, storeName, minClass);
}

/**
 * Returns the app's default store, `createEncryptedStorage()` with the settings of {@link configure}. It is opened
 * once and shared, and reopened if its database was lost. Do not close it.
 *
 * @throws As {@link createEncryptedStorage} does.
 *
 * @example Use methods of the default store
 * ```ts
 * import { configure, defaultStorage } from '@coffer-storage/coffer';
 *
 * configure({ unlock: { password: 'correct horse battery staple' } });
 * const storage = await defaultStorage();
 * await storage.setEncrypted('k', 'v', 'internal');
 *
 * console.log(await storage.exists('k')); // true
 * ```
 */
export async function defaultStorage(): Promise<EncryptedStorage> {
  const opening = (shared ??= createEncryptedStorage());
  const storage = await opening.catch(() => undefined);
  if (storage && !storage.lost) return storage;
  retire(opening);
  return storage ? defaultStorage() : opening;
}

/**
 * Seals a value and stores it in the default store; see {@link EncryptedStorage.setEncrypted}.
 *
 * @example
 * ```ts
 * import { configure, DataClassification, setEncrypted } from '@coffer-storage/coffer';
 *
 * configure({ unlock: { password: 'correct horse battery staple' } });
 * await setEncrypted('token', 'abc123', DataClassification.CONFIDENTIAL);
 * ```
 */
export async function setEncrypted(
  key: string,
  value: unknown,
  classification: DataClassification,
  context?: Context,
): Promise<void> {
  const [encoded, copy] = [encodeValue(value).own(), copyContext(context)];
  return (await defaultStorage()).setEncrypted(key, encoded, classification, copy);
}

/**
 * Reads and opens a value of the default store; see {@link EncryptedStorage.getDecrypted}.
 *
 * @example
 * ```ts
 * import { configure, getDecrypted, setEncrypted } from '@coffer-storage/coffer';
 *
 * configure({ unlock: { password: 'correct horse battery staple' } });
 * await setEncrypted('language', 'en', 'internal');
 *
 * const language = await getDecrypted<string>('language');
 * console.log(language); // en
 * ```
 */
export async function getDecrypted<T = unknown>(key: string): Promise<T | null> {
  return (await defaultStorage()).getDecrypted<T>(key);
}
