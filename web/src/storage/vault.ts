import { equal } from '../core/bytes.js';
import { type Core, loadCore } from '../core/core.js';
import { Database } from './database.js';
import { type CofferError, errorOf } from '../core/errors.js';
import { CommitQueue } from './queue.js';
import { Sealer } from '../crypto/sealer.js';
import {
  type Unlock,
  type Unlocked,
  createVault,
  keyIds,
  keysetOf,
  label,
  secretOf,
  unlockDocument,
} from '../unlock/unlock.js';

/** Options of a vault. */
export interface VaultOptions {
  /** PBKDF2-HMAC-SHA256 iterations for a vault that is created; at least 600,000, which is the default. */
  iterations?: number;
  /** A label such as `'dev'` or `'prod'`, bound to every key: keys of one environment never open another's data. */
  environment?: string;
}

/** The options, each of them there. */
type Settings = { [Option in keyof VaultOptions]-?: VaultOptions[Option] | undefined };

/** A database that stores of this page have open, with their one group commit: whatever opened them, call order holds. */
export interface Connection {
  name: string;
  database: Database;
  queue: CommitQueue;
  /** How many open stores use it. */
  users: number;
}

/** An unlocked vault: its keys, and the document that they came from. */
export interface Vault {
  core: Core;
  owner: string;
  document: Uint8Array<ArrayBuffer>;
  sealer: Sealer;
}

const connections = new Map<string, Connection>();

/** Unlocked vaults by key source and name: opening a second store costs no second key derivation. */
const vaults = new WeakMap<Unlock, Map<string, Promise<Vault>>>();

/** Opens a database and unlocks its vault, creating it where there is none. */
export async function openVault(
  name: string,
  unlock: Unlock,
  options: Settings,
): Promise<[Vault, Connection]> {
  secretOf(unlock); // refuses what is no key source
  try {
    return await open(name, unlock, options);
  } catch (error) {
    if ((error as CofferError).code !== 'connection_lost') throw error;
    // The database was deleted, or its vault replaced. Stores of the former one go on failing; this one begins anew.
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
    await connection.database.hold(vault.document);
    return [vault, connection];
  } catch (error) {
    leave(connection);
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

/** Gives a connection back; the last user's is closed when its work is done. */
export function leave(connection: Connection): void {
  if (--connection.users > 0) return;
  void connection.queue.idle().then(() => {
    if (connection.users > 0) return;
    connection.database.drop();
    if (connections.get(connection.name) === connection) connections.delete(connection.name);
  });
}

async function unlockVault(database: Database, unlock: Unlock, options: Settings): Promise<Vault> {
  const core = await loadCore();
  const secret = secretOf(unlock);
  const supplied = keysetOf(unlock);
  const stored = await database.document();
  const document =
    supplied ??
    stored ??
    (await database.adopt(
      await createVault(core, secret, options.environment ?? '', options.iterations),
    ));
  checkEnvironment(core, document, options.environment);
  const unlocked = await unlockDocument(core, document, secret);
  if (supplied) await keepSupplied(core, database, supplied, unlocked, stored);
  return { core, owner: unlocked.owner, document, sealer: new Sealer(core, unlocked) };
}

/** Puts the host's document at rest, unless that would lose keys or belongs elsewhere: then nothing is changed. */
async function keepSupplied(
  core: Core,
  database: Database,
  supplied: Uint8Array<ArrayBuffer>,
  unlocked: Unlocked,
  stored: Uint8Array | undefined,
): Promise<void> {
  if (!stored) await database.adopt(supplied);
  else if (!equal(stored, supplied)) {
    for (const which of ['owner', 'environment'] as const) {
      if (label(core, stored, which) !== label(core, supplied, which))
        throw errorOf('invalid_argument', 'the database is of another vault: use another name');
    }
    // Only a key that opened counts: the document can name others.
    if (!keyIds(core, stored).every((id) => unlocked.secrets.has(id)))
      throw errorOf('invalid_argument', 'the keyset lacks keys in use: supply a newer one');
    await database.replace(stored, supplied);
  }
}

function checkEnvironment(core: Core, document: Uint8Array, wanted: string | undefined): void {
  if (wanted !== undefined && label(core, document, 'environment') !== wanted) {
    throw errorOf('invalid_argument', 'keys of another environment');
  }
}
