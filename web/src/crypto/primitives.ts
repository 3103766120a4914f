/** HKDF, PBKDF2, AES-GCM and key wrapping over WebCrypto, with the sizes and labels of SPEC.md. No other file calls crypto.subtle. */
import { type Bytes, concat, encode, none } from '../core/bytes.js';
import { errorOf } from '../core/errors.js';

/** Sizes in bytes (SPEC.md section 3). */
export const NONCE = 12;
export const TAG = 16;
export const SALT = 16;

/** Returns the HKDF info that separates the keys of one secret. */
function infoOf(purpose: string): Bytes {
  return encode(`coffer/v1 ${purpose}`);
}

/** Returns new random bytes from the platform's generator. They are never buffered. */
export function random(n: number): Bytes {
  return crypto.getRandomValues(new Uint8Array(n));
}

/** Derives bytes with HKDF-SHA256 (RFC 5869). */
export async function hkdf(key: CryptoKey, salt: Bytes, info: Bytes, size: number): Promise<Bytes> {
  return new Uint8Array(
    await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt, info }, key, size * 8),
  );
}

/** Derives a non-extractable key with HKDF-SHA256. */
function derive(
  secret: CryptoKey,
  salt: Bytes,
  purpose: string,
  type: AesKeyGenParams | HmacKeyGenParams,
  usages: KeyUsage[],
): Promise<CryptoKey> {
  return crypto.subtle.deriveKey(
    { name: 'HKDF', hash: 'SHA-256', salt, info: infoOf(purpose) },
    secret,
    type,
    false,
    usages,
  );
}

/** Derives bytes with PBKDF2-HMAC-SHA256 (RFC 8018 section 5.2). */
export async function pbkdf2(
  passphrase: Bytes,
  salt: Bytes,
  iterations: number,
  size: number,
): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', passphrase, 'PBKDF2', false, ['deriveBits']);
  return new Uint8Array(
    await crypto.subtle.deriveBits(
      { name: 'PBKDF2', hash: 'SHA-256', salt, iterations },
      key,
      size * 8,
    ),
  );
}

/** Encrypts with AES-256-GCM (NIST SP 800-38D). Returns the ciphertext followed by the 16-byte tag. */
export function gcmSeal(
  key: CryptoKey,
  iv: Bytes,
  additionalData: Bytes,
  plaintext: Bytes,
): Promise<ArrayBuffer> {
  return crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, key, plaintext);
}

/** Decrypts with AES-256-GCM. Rejects with `authentication_failed`. */
export function gcmOpen(
  key: CryptoKey,
  iv: Bytes,
  additionalData: Bytes,
  sealed: BufferSource,
): Promise<ArrayBuffer> {
  return crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, key, sealed).catch(refused);
}

function refused(cause: unknown): never {
  // WebCrypto rejects with OperationError if the tag does not match. Other errors, such as lack of memory, are not tampering.
  if ((cause as DOMException)?.name === 'OperationError') throw errorOf('authentication_failed');
  throw errorOf('internal', undefined, cause);
}

/** Imports 32 secret bytes as a non-extractable HKDF key, and overwrites them. */
export async function importSecret(bytes: Bytes): Promise<CryptoKey> {
  try {
    return requireNonExtractable(
      await crypto.subtle.importKey('raw', bytes, 'HKDF', false, ['deriveBits', 'deriveKey']),
    );
  } finally {
    bytes.fill(0);
  }
}

/** Derives a key's id, which commits to the key (SPEC.md section 4.1). */
export function keyId(key: CryptoKey): Promise<Bytes> {
  return hkdf(key, none, infoOf('key id'), 32);
}

/** Derives the secret of a passphrase. */
export async function passphraseSecret(
  passphrase: string,
  salt: Bytes,
  iterations: number,
): Promise<CryptoKey> {
  const bytes = encode(passphrase.normalize('NFC'));
  try {
    return await importSecret(await pbkdf2(bytes, salt, iterations, 32));
  } finally {
    bytes.fill(0);
  }
}

/** Derives the secret of a random 32-byte master key. */
export async function masterSecret(master: Bytes): Promise<CryptoKey> {
  return importSecret(await hkdf(await importSecret(master), none, infoOf('master key'), 32));
}

const AES = { name: 'AES-GCM', length: 256 } as const;

/** Derives the message key of a data key and a salt. */
export function messageKey(dek: CryptoKey, salt: Bytes): Promise<CryptoKey> {
  return derive(dek, salt, 'message key', AES, ['encrypt', 'decrypt']);
}

/** Derives the key that wraps other keys. */
export function wrappingKey(secret: CryptoKey): Promise<CryptoKey> {
  return derive(secret, none, 'wrapping key', AES, ['wrapKey', 'unwrapKey']);
}

/** Derives the key that authenticates the records of a keyset document from its root. */
export async function recordKey(root: CryptoKey): Promise<CryptoKey> {
  return requireNonExtractable(
    await derive(root, none, 'record mac', { name: 'HMAC', hash: 'SHA-256', length: 256 }, [
      'sign',
    ]),
  );
}

/** Computes HMAC-SHA256 (RFC 2104), 32 bytes. */
export async function recordMac(key: CryptoKey, message: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, message));
}

/** Unwraps nonce || ciphertext || tag into a non-extractable HKDF key. Rejects with `authentication_failed`. */
export async function unwrap(
  wrapping: CryptoKey,
  wrapped: Bytes,
  additionalData: Bytes,
): Promise<CryptoKey> {
  const params = { name: 'AES-GCM', iv: wrapped.subarray(0, NONCE), additionalData };
  try {
    const key = await crypto.subtle.unwrapKey(
      'raw',
      wrapped.subarray(NONCE),
      wrapping,
      params,
      'HKDF',
      false,
      ['deriveBits', 'deriveKey'],
    );
    return requireNonExtractable(key);
  } catch {
    throw errorOf('authentication_failed', 'a wrapped key');
  }
}

/** A new random secret as an HKDF key, with a function that wraps it. JavaScript never gets its bytes. */
export interface NewSecret {
  key: CryptoKey;
  wrap(wrapping: CryptoKey, additionalData: Bytes): Promise<Bytes>;
}

/** Generates a secret. */
export async function newSecret(): Promise<NewSecret> {
  const extractable = await crypto.subtle.generateKey(AES, true, ['encrypt']);
  const wrap = async (wrapping: CryptoKey, additionalData: Bytes) => {
    const iv = random(NONCE);
    const sealed = await crypto.subtle.wrapKey('raw', extractable, wrapping, {
      name: 'AES-GCM',
      iv,
      additionalData,
    });
    return concat(iv, new Uint8Array(sealed));
  };
  // WebCrypto converts an AES key to an HKDF key only by wrapping it, here under a temporary key.
  const temporary = await crypto.subtle.generateKey(AES, false, ['wrapKey', 'unwrapKey']);
  return { key: await unwrap(temporary, await wrap(temporary, none), none), wrap };
}

/** Checks that a key is not extractable, because Firefox accepts extractable HKDF keys. */
function requireNonExtractable(key: CryptoKey): CryptoKey {
  if (key.extractable) throw errorOf('internal', 'a key is extractable');
  return key;
}
