import { fromBase64 } from '../core/base64.js';
import type { Bytes } from '../core/bytes.js';
import { checkText, isBytes } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import { isPlain } from '../core/plain.js';
import { latin1 } from '../crypto/sealer.js';
import { masterSecret, passphraseSecret } from '../crypto/primitives.js';

/** A password or a master key. The member's name decides which of the two it is, never its content. */
export type UnlockSecret =
  | {
      /** A text that a person types. PBKDF2-HMAC-SHA256 stretches it with at least 600,000 iterations. */
      readonly password: string;
    }
  | {
      /** 32 random bytes, or their standard base64 with padding (44 characters). */
      readonly masterKey: string | Uint8Array;
    };

/**
 * The secret that opens a storage or an {@link EncryptionService}, alone or with a keyset document.
 *
 * Without `keyset`, a storage keeps its own keyset document in its database, wrapped under the secret.
 * With `keyset`, the keys are those of the given document, which lets a browser and a server share data;
 * the value is the document's bytes or their base64.
 *
 * The object is read at first use, and unlocked vaults are remembered by its identity: pass the same object
 * to open a second store without a second key derivation, and do not change it.
 *
 * @example From a password that the user types
 * ```ts
 * import { createEncryptedStorage, type Unlock } from '@coffer-storage/coffer';
 *
 * const unlock: Unlock = { password: 'correct horse battery staple' };
 * const patients = await createEncryptedStorage('clinic', 'patients', { unlock });
 * const images = await createEncryptedStorage('clinic', 'images', { unlock }); // no second derivation
 * ```
 *
 * @example From a master key
 * ```ts
 * import { createEncryptedStorage } from '@coffer-storage/coffer';
 *
 * const masterKey = crypto.getRandomValues(new Uint8Array(32)); // keep it where only this user can read it
 * const storage = await createEncryptedStorage('kiosk', 'default', { unlock: { masterKey } });
 * await storage.setEncrypted('motto', 'primum non nocere', 'internal');
 * ```
 */
export type Unlock =
  | UnlockSecret
  | (UnlockSecret & { readonly keyset: string | Uint8Array | ArrayBuffer });

/** The kinds of slot that a browser can open, by their numbers in a keyset document. */
export const PASSWORD_SLOT = 1;
export const MASTER_SLOT = 2;

/** A password or master key that derives slot keys. It is dropped once a vault is created or unlocked. */
export class Secret {
  readonly kind: typeof PASSWORD_SLOT | typeof MASTER_SLOT;
  readonly #value: string | Bytes;
  #last: { id: string; key: Promise<CryptoKey> } | undefined;

  constructor(value: string | Bytes) {
    this.#value = value;
    this.kind = typeof value === 'string' ? PASSWORD_SLOT : MASTER_SLOT;
  }

  /**
   * Derives the secret's key: PBKDF2 of a password; HKDF of a master key, which uses neither salt nor iterations.
   * The last key is remembered, because the slots of one document often share a salt.
   */
  key(salt: Bytes, iterations: number): Promise<CryptoKey> {
    const id = `${iterations}:${latin1(salt)}`;
    if (this.#last?.id === id) return this.#last.key;
    const value = this.#value;
    const key =
      typeof value === 'string'
        ? passphraseSecret(value, salt, iterations)
        : masterSecret(value.slice());
    this.#last = { id, key };
    return key;
  }
}

/** Reads the secret of an Unlock. Throws `invalid_argument`, or `not_configured` if it names neither a secret nor a keyset. */
export function readSecret(unlock: Unlock): Secret {
  const { password, masterKey, keyset } = Object(unlock) as Record<string, unknown>;
  if (password !== undefined && masterKey === undefined) return readPassword(password);
  if (masterKey !== undefined && password === undefined) return readMasterKey(masterKey);
  if (isPlain(unlock) && !password && !keyset) throw errorOf('not_configured');
  throw errorOf('invalid_argument', 'unlock has either password or masterKey');
}

/** Reads a password or passphrase. Throws `invalid_argument`. */
function readPassword(text: unknown): Secret {
  // HMAC pads keys with zeros, so a password and the same password followed by U+0000 would derive one key.
  if (typeof text !== 'string' || text === '' || text.includes('\0'))
    throw errorOf('invalid_argument', 'a password is text without U+0000');
  checkText(text);
  return new Secret(text);
}

function readMasterKey(key: unknown): Secret {
  const canonical = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
  if (typeof key === 'string' && canonical.test(key)) return new Secret(fromBase64(key));
  if (isBytes(key) && key.length === 32) return new Secret(new Uint8Array(key));
  throw errorOf('invalid_argument', 'a masterKey is 32 bytes or their base64; or use password');
}

/** Copies the bytes of the Unlock's keyset document. Undefined without a document. */
export function readKeyset(unlock: Unlock): Bytes | undefined {
  const { keyset } = unlock as { keyset?: string | Uint8Array | ArrayBuffer };
  if (keyset === undefined) return undefined;
  return typeof keyset === 'string' ? fromBase64(keyset) : new Uint8Array(keyset).slice();
}
