import type { Code } from './codes.gen.js';

/**
 * An error of Coffer. Programs decide by `code`, which is stable. The message is for people: it names a remedy, may
 * change, and never contains a secret or a value.
 */
export class CofferError extends Error {
  /** The name that consoles print. It is set here because minifiers shorten class names. */
  static override readonly name: string = 'CofferError';
  /** The stable code, the same in Go and over HTTP. */
  readonly code: Code;
  /** The HTTP status, if the error came from a server. */
  declare readonly status?: number;
  /** The id of the request in the server's log. */
  declare readonly requestId?: string;
  /** The seconds after which a retry may succeed. */
  declare readonly retryAfter?: number;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The package was altered, moved or forged, or its class is below `minClass`. Nothing of it was returned. */
export class IntegrityError extends CofferError {
  static override readonly name: string = 'IntegrityError';
}

/** The secret is wrong or missing, or the key is unknown, destroyed or unusable. */
export class KeyError extends CofferError {
  static override readonly name: string = 'KeyError';
}

/** An argument, package or keyset document is invalid, of another version, or over a limit. */
export class InputError extends CofferError {
  static override readonly name: string = 'InputError';
}

/** The database failed: the quota is used up, another tab blocks it, the connection was lost, or the store was closed. Earlier values are unchanged. */
export class StorageError extends CofferError {
  static override readonly name: string = 'StorageError';
}

/** The browser lacks WebAssembly, WebCrypto or IndexedDB. */
export class EnvironmentError extends CofferError {
  static override readonly name: string = 'EnvironmentError';
}

type Row = [
  kind: new (code: Code, message: string, options?: ErrorOptions) => CofferError,
  message: string,
];

const rows: Partial<Record<Code, Row>> = {
  invalid_argument: [InputError, 'invalid argument'],
  malformed: [InputError, 'not a package or keyset'],
  unsupported_version: [InputError, 'another version: update Coffer'],
  too_large: [InputError, 'over the limit'],
  kdf_out_of_range: [InputError, 'PBKDF2 iterations out of range'],
  wrong_secret: [KeyError, 'wrong password or secret'],
  unknown_key: [KeyError, 'sealed under an unknown key'],
  key_destroyed: [KeyError, 'key destroyed'],
  key_unusable: [KeyError, 'no usable key'],
  not_configured: [KeyError, 'no key: call configure() or pass unlock'],
  authentication_failed: [IntegrityError, 'altered, moved or forged'],
  class_too_low: [IntegrityError, 'the class is below minClass'],
  quota_exceeded: [StorageError, 'quota used up; the earlier value is kept'],
  database_blocked: [StorageError, 'another tab has an older connection: close it'],
  connection_lost: [StorageError, 'connection lost: open the storage again'],
  closed: [StorageError, 'storage closed'],
  wasm_unavailable: [
    EnvironmentError,
    'core not loaded: check its URL and the CSP (wasm-unsafe-eval)',
  ],
  webcrypto_unavailable: [EnvironmentError, 'no WebCrypto: use HTTPS or localhost'],
  indexeddb_unavailable: [EnvironmentError, 'no IndexedDB here'],
};

/** Makes the error of a code. `detail` names the fault and must not contain a secret. */
export function errorOf(code: Code, detail?: string, cause?: unknown): CofferError {
  const [Kind, message] = rows[code] ?? [CofferError, 'internal error'];
  return new Kind(
    code,
    detail ? `${message}: ${detail}` : message,
    cause === undefined ? undefined : { cause },
  );
}

type Meaning = [code: Code, detail?: string];

const refused: Meaning = ['indexeddb_unavailable'];
const foreign: Meaning = ['unsupported_version', 'the database, or use another name'];

/** The meanings of IndexedDB's exceptions by name. NotFoundError means a missing object store. */
const meanings: Record<string, Meaning> = {
  QuotaExceededError: ['quota_exceeded'],
  SecurityError: refused,
  InvalidAccessError: refused,
  VersionError: foreign,
  NotFoundError: foreign,
};

/** Converts an exception of IndexedDB to a CofferError. */
export function storageError(cause: unknown): CofferError {
  if (cause instanceof CofferError) return cause;
  const [code, detail] = meanings[(cause as DOMException | null)?.name ?? ''] ?? [
    'connection_lost',
  ];
  return errorOf(code, detail, cause);
}
