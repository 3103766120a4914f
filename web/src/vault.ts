import { type Core, loadCore } from './core.js';
import { Database, sameBytes } from './database.js';
import { errorOf } from './errors.js';
import { CommitQueue } from './queue.js';
import { Sealer } from './sealer.js';
import { type Unlock, type Unlocked, createVault, keysetOf, secretOf, unlockDocument } from './unlock.js';

/** Options of a vault. */
export interface VaultOptions {
  /** PBKDF2-HMAC-SHA256 iterations for a vault that is created; at least 600,000, which is the default. */
  iterations?: number;
  /** A label such as `'dev'` or `'prod'`, bound to every key: keys of one environment never open another's data. */
  environment?: string;
}

/** One unlocked database: one vault. The stores in it share its connection, keys and group commit. */
export interface Vault {
  core: Core;
  owner: string;
  database: Database;
  queue: CommitQueue;
  sealer: Sealer;
  /** How many open stores use it. */
  users: number;
}

/** Vaults by key source and name: opening a second store costs no second key derivation. */
const vaults = new WeakMap<Unlock, Map<string, Promise<Vault>>>();

/** Opens a database and unlocks its vault, creating it where there is none. */
export async function openVault(name: string, unlock: Unlock, options: VaultOptions): Promise<Vault> {
  const byName = vaults.get(unlock) ?? new Map<string, Promise<Vault>>();
  vaults.set(unlock, byName);
  const opening = byName.get(name) ?? unlockVault(name, unlock, options);
  byName.set(name, opening);
  try {
    const vault = await opening;
    await vault.database.connect();
    vault.users++;
    return vault;
  } catch (error) {
    if (byName.get(name) === opening) byName.delete(name);
    throw error;
  }
}

/** Gives a vault back; the last user's connection is closed when its work is done. */
export function leaveVault(vault: Vault): void {
  if (--vault.users > 0) return;
  void vault.queue.idle().then(() => vault.users === 0 && vault.database.drop());
}

async function unlockVault(name: string, unlock: Unlock, options: VaultOptions): Promise<Vault> {
  const core = await loadCore();
  const database = new Database(name);
  try {
    const unlocked = await unlockOrCreate(core, database, unlock, options);
    checkEnvironment(core, unlocked, options.environment);
    database.hold(unlocked.document);
    return { core, owner: unlocked.owner, database, queue: new CommitQueue(database), sealer: new Sealer(core, unlocked), users: 0 };
  } catch (error) {
    database.drop();
    throw error;
  }
}

async function unlockOrCreate(core: Core, database: Database, unlock: Unlock, options: VaultOptions): Promise<Unlocked> {
  const secret = secretOf(unlock);
  const supplied = keysetOf(unlock);
  const stored = await database.document();
  if (!supplied) {
    const standing = stored ?? (await database.adopt(await createVault(core, secret, options.environment ?? '', options.iterations)));
    return unlockDocument(core, standing, secret);
  }
  const unlocked = await unlockDocument(core, supplied, secret);
  if (!stored) await database.adopt(supplied);
  else if (!sameBytes(stored, supplied)) {
    if (label(core, stored, 'owner') !== unlocked.owner) throw errorOf('invalid_argument', 'this database belongs to another vault: use another name');
    await database.replace(supplied);
  }
  return unlocked;
}

function checkEnvironment(core: Core, { document }: Unlocked, wanted: string | undefined): void {
  if (wanted !== undefined && label(core, document, 'environment') !== wanted) {
    throw errorOf('invalid_argument', 'these keys belong to another environment');
  }
}

function label(core: Core, document: Uint8Array, which: 'owner' | 'environment'): string {
  const handle = core.check(core.call.openDocument(core.begin().bytes(document).length));
  try {
    return new TextDecoder().decode(core.output(core.call[which](handle)));
  } finally {
    core.call.closeSession(handle);
  }
}
