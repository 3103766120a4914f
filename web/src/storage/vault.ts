import { equal } from '../core/bytes.js';
import { type Core, loadCore } from '../core/core.js';
import { Database } from './database.js';
import { type CofferError, errorOf } from '../core/errors.js';
import { CommitQueue } from './queue.js';
import { Sealer } from '../crypto/sealer.js';
import { createDocument } from '../unlock/create.js';
import { type Unlocked, listKeyIds, readLabel, unlockDocument } from '../unlock/document.js';
import { type Unlock, readKeyset, readSecret } from '../unlock/secret.js';

/** Options of the vault that a database holds. */
export interface VaultOptions {
  /** The PBKDF2-HMAC-SHA256 iterations for a vault that is created with a password, at least 600,000, which is the default. */
  iterations?: number;
  /** A label such as `'dev'` or `'prod'` that is bound to every key. Keys of one environment never open data of another. */
  environment?: string;
}

/** The options with every member present. */
type Settings = { [Option in keyof VaultOptions]-?: VaultOptions[Option] | undefined };

/** A database that stores of this page share, with one commit queue, so that calls through different stores keep their order. */
export interface Connection {
  name: string;
  database: Database;
  queue: CommitQueue;
  /** How many open stores use it. */
  users: number;
}

/** An unlocked vault with the keyset document that its keys came from. */
export interface Vault {
  core: Core;
  owner: string;
  document: Uint8Array<ArrayBuffer>;
  sealer: Sealer;
}

const connections = new Map<string, Connection>();

/** Unlocked vaults by Unlock object and database name, so that a second store needs no second key derivation. */
const vaults = new WeakMap<Unlock, Map<string, Promise<Vault>>>();

/** Opens a database and unlocks its vault. Creates the vault in an empty database. */
export async function openVault(
  name: string,
  unlock: Unlock,
  options: Settings,
): Promise<[Vault, Connection]> {
  readSecret(unlock); // throws before a database is opened
  try {
    return await open(name, unlock, options);
  } catch (error) {
    if ((error as CofferError).code !== 'connection_lost') throw error;
    // The database was deleted or its vault replaced. Stores opened before keep failing; this one starts over.
    connections.delete(name);
    vaults.get(unlock)?.delete(name);
    return open(name, unlock, options);
  }
}

async function open(name: string, unlock: Unlock, options: Settings): Promise<[Vault, Connection]> {
  const connection = connections.get(name) ?? connect(name);
  connection.users++;
  const byName = vaults.get(unlock) ?? new Map<string, Promise<Vault>>();
  vaults.set(unlock, byName);
  const opening = byName.get(name) ?? unlockVault(connection.database, unlock, options);
  byName.set(name, opening);
  try {
    const vault = await opening;
    checkEnvironment(vault.core, vault.document, options.environment);
    await connection.database.pin(vault.document);
    return [vault, connection];
  } catch (error) {
    release(connection);
    if (byName.get(name) === opening) byName.delete(name);
    throw error;
  }
}

function connect(name: string): Connection {
  const database = new Database(name);
  const connection = { name, database, queue: new CommitQueue(database), users: 0 };
  connections.set(name, connection);
  return connection;
}

/** Releases a connection. It closes when its last user has released it and pending work is done. */
export function release(connection: Connection): void {
  if (--connection.users > 0) return;
  void connection.queue.idle().then(() => {
    if (connection.users > 0) return;
    connection.database.disconnect();
    if (connections.get(connection.name) === connection) connections.delete(connection.name);
  });
}

async function unlockVault(database: Database, unlock: Unlock, options: Settings): Promise<Vault> {
  const core = await loadCore();
  const secret = readSecret(unlock);
  const supplied = readKeyset(unlock);
  const stored = await database.readDocument();
  const document =
    supplied ??
    stored ??
    (await database.adopt(
      await createDocument(core, secret, options.environment ?? '', options.iterations),
    ));
  checkEnvironment(core, document, options.environment);
  const unlocked = await unlockDocument(core, document, secret);
  if (supplied) await storeSupplied(core, database, supplied, unlocked, stored);
  return { core, owner: unlocked.owner, document, sealer: new Sealer(core, unlocked) };
}

/** Stores the host's document, unless it would lose keys or belongs to another vault: then nothing is changed. */
async function storeSupplied(
  core: Core,
  database: Database,
  supplied: Uint8Array<ArrayBuffer>,
  unlocked: Unlocked,
  stored: Uint8Array | undefined,
): Promise<void> {
  if (!stored) await database.adopt(supplied);
  else if (!equal(stored, supplied)) {
    for (const which of ['owner', 'environment'] as const) {
      if (readLabel(core, stored, which) !== readLabel(core, supplied, which))
        throw errorOf('invalid_argument', 'the database holds another vault: use another name');
    }
    // Count only keys that opened: a document can also name keys that this secret does not open.
    if (!listKeyIds(core, stored).every((id) => unlocked.secrets.has(id)))
      throw errorOf('invalid_argument', 'the keyset lacks keys in use: supply a newer one');
    await database.replace(stored, supplied);
  }
}

function checkEnvironment(core: Core, document: Uint8Array, wanted: string | undefined): void {
  if (wanted !== undefined && readLabel(core, document, 'environment') !== wanted) {
    throw errorOf('invalid_argument', 'keys of another environment');
  }
}
