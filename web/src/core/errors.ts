import type { Code } from './codes.gen.js';

/** An error of Coffer. Decide by `code`, which is stable; `message` says what to do and never holds a secret or a value. */
export class CofferError extends Error {
  /** The class's own name, which a minifier would shorten: consoles print it. */
  static override readonly name: string = 'CofferError';
  /** The stable code, the same in Go and over HTTP. */
  readonly code: Code;
  /** The HTTP status, if a server answered (`coffer/client`). */
  declare readonly status?: number;
  /** What names the request in that server's log. */
  declare readonly requestId?: string;
  /** Seconds after which that server may answer otherwise. */
  declare readonly retryAfter?: number;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The package was altered, moved or forged, or is of a lower class than demanded: nothing of it was returned. */
export class IntegrityError extends CofferError {
  static override readonly name: string = 'IntegrityError';
}

/** The secret is wrong, or the key is unknown, destroyed or unusable, or none is configured. */
export class KeyError extends CofferError {
  static override readonly name: string = 'KeyError';
}

/** An argument, package or document is malformed, of another version, or over a limit. */
export class InputError extends CofferError {
  static override readonly name: string = 'InputError';
}

/** The database refused: quota, another tab, a lost connection, or the store was closed. Earlier values are still in place. */
export class StorageError extends CofferError {
  static override readonly name: string = 'StorageError';
}

/** The browser lacks what Coffer needs here: WebAssembly, WebCrypto or IndexedDB. */
export class EnvironmentError extends CofferError {
  static override readonly name: string = 'EnvironmentError';
}

type Row = [
  kind: new (code: Code, message: string, options?: ErrorOptions) => CofferError,
  message: string,
];

const rows: Partial<Record<Code, Row>> = {
  invalid_argument: [InputError, 'not valid here'],
  malformed: [InputError, 'not a package or keyset'],
  unsupported_version: [InputError, 'of another version: update Coffer'],
  too_large: [InputError, 'over its limit'],
  kdf_out_of_range: [InputError, 'too few or too many PBKDF2 iterations'],
  wrong_secret: [KeyError, 'wrong password or secret'],
  unknown_key: [KeyError, 'sealed under a key that is not here'],
  key_destroyed: [KeyError, 'the key was destroyed'],
  key_unusable: [KeyError, 'no usable key'],
  not_configured: [KeyError, 'no key source: call configure({ unlock: … }) or pass unlock'],
  authentication_failed: [IntegrityError, 'altered, moved or forged'],
  class_too_low: [IntegrityError, 'the class is lower than demanded'],
  quota_exceeded: [StorageError, 'the quota is used up; the earlier value is in place'],
  database_blocked: [StorageError, 'another tab holds an older connection: close it'],
  connection_lost: [StorageError, 'the connection was lost: open the storage again'],
  closed: [StorageError, 'the storage was closed'],
  wasm_unavailable: [
    EnvironmentError,
    "the core did not load: check its URL and the CSP ('wasm-unsafe-eval')",
  ],
  webcrypto_unavailable: [EnvironmentError, 'no WebCrypto: use HTTPS or localhost'],
  indexeddb_unavailable: [EnvironmentError, 'no IndexedDB here'],
};

/** Makes the error of a code; `detail` names what is wrong and must hold no secret. */
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

/** Meanings of IndexedDB's exceptions by their names. NotFoundError is a missing object store. */
const meanings: Record<string, Meaning> = {
  QuotaExceededError: ['quota_exceeded'],
  SecurityError: refused,
  InvalidAccessError: refused,
  VersionError: foreign,
  NotFoundError: foreign,
};

/** Turns what IndexedDB throws into an error of Coffer. */
export function storageError(cause: unknown): CofferError {
  if (cause instanceof CofferError) return cause;
  const [code, detail] = meanings[(cause as DOMException | null)?.name ?? ''] ?? [
    'connection_lost',
  ];
  return errorOf(code, detail, cause);
}
