/** The arguments and results of {@link CofferClient} that users name. */
import type { CofferError, Context, DataClassification } from '../index.js';
import type { Entry, SessionTimes } from './responses.js';
import type { Binary, Duration } from './arguments.js';
import type { CallOptions } from './http.js';
import type { components } from './openapi.gen.js';

type Schemas = components['schemas'];

/** Options of {@link CofferClient.set}. */
export interface SetOptions extends CallOptions {
  /** How sensitive the value is. Required. */
  class: DataClassification;
  /** How long the entry is kept. Default: as long as its class allows. */
  ttl?: Duration;
  /** Strings that are authenticated with the value and readable without a key. */
  context?: Context;
  /** The value's media type. Default: that of a Blob, or none. */
  contentType?: string;
  /** Writes only if the entry has this ETag, or with `*` only if it exists; otherwise `precondition_failed`. */
  ifMatch?: string;
  /** `*` writes only if the entry does not exist; otherwise `precondition_failed`. */
  ifNoneMatch?: '*';
}

/** Options of {@link CofferClient.get} and the other reads of an entry. */
export interface GetOptions extends CallOptions {
  /** The lowest class to accept. A value of a lower class is refused with `class_too_low`. */
  minClass?: DataClassification;
  /** Reads only if the entry has this ETag; otherwise `precondition_failed`. */
  ifMatch?: string;
  /** An ETag that the caller knows. The result is `'unchanged'` if the entry still has it. */
  ifNoneMatch?: string;
}

/** The additional result of a read with `ifNoneMatch`. */
export type Unchanged<O> = O extends { ifNoneMatch: string } ? 'unchanged' : never;

/** Options of {@link CofferClient.expire} and {@link CofferClient.delete}. */
export interface MatchOptions extends CallOptions {
  /** Changes the entry only if it has this ETag; otherwise `precondition_failed`. */
  ifMatch?: string;
}

/** Options of {@link CofferClient.list}. */
export interface ListOptions extends CallOptions {
  /** Lists only keys that begin with this text. */
  prefix?: string;
  /** The number of keys to ask for in one request, 1 to 1,000. */
  pageSize?: number;
}

/** One operation of {@link CofferClient.batch}. A text is stored as UTF-8. */
export type BatchOperation =
  | Schemas['BatchGet']
  | Schemas['BatchDelete']
  | (Omit<Schemas['BatchSet'], 'value' | 'ttl'> & { value: string | Binary; ttl?: Duration });

/** The result of one operation of a batch. */
export interface BatchResult {
  /** The HTTP status that the operation alone would have. */
  status: number;
  /** The entry that a `get` read. */
  entry?: Entry;
  /** The ETag of the entry that a `get` read or a `set` wrote. */
  etag?: string;
  /** The reason of a makeError. */
  error?: CofferError;
}

/** A value for {@link CofferClient.encrypt}. Text is opened as text, and anything else as bytes. */
export interface Sealing {
  /** At most the server's body limit, 64 MiB by default. */
  value: string | Binary;
  /** How sensitive the value is. Required. */
  class: DataClassification;
  /** Strings that are authenticated with the value and readable without a key. */
  context?: Context;
}

/** Options of {@link CofferClient.decrypt}. */
export interface OpenOptions extends CallOptions {
  /** The lowest class to accept. A package of a lower class is refused with `class_too_low`. */
  minClass?: DataClassification;
}

/** Options of {@link CofferClient.createSession}. */
export interface SessionOptions extends CallOptions {
  /** How long the session is valid. Default: an hour. */
  ttl?: Duration;
}

/** A new session. */
export interface NewSession extends SessionTimes {
  /** The session's id. With a token of the tenant it opens the session: treat it like a password. */
  id: string;
}

/** A valid session. */
export interface Session<T = Record<string, unknown>> extends SessionTimes {
  /** The data that the session was created with. */
  data: T;
}

/** The keys of a tenant for one use and class, without key material. */
export type Keyset = Schemas['Keyset'];

/** Options of {@link CofferClient.keysets}. */
export interface KeysetOptions extends CallOptions {
  /** Lists only keysets of this tenant. Default: every tenant that the token administers. */
  tenant?: string;
  /** The number of tenants to ask for in one request, 1 to 1,000. */
  pageSize?: number;
}

/** Why keys are changed, for the audit log. */
export type ChangeReason = Schemas['Reason'];

/** Options of {@link CofferClient.rotate}. */
export interface RotateOptions extends CallOptions {
  /** The tenant. Default: the token's own. */
  tenant?: string;
  /** Rotates only the keys of this class. Default: every class. */
  class?: DataClassification;
  /** Whether the keys may have leaked. Compromised keys never seal again, and a rollback is impossible. */
  compromised?: boolean;
  /** The reason, for the audit log. */
  reason?: ChangeReason;
}

/** Options of {@link CofferClient.rollback}. */
export interface RollbackOptions extends CallOptions {
  /** The tenant. Default: the token's own. */
  tenant?: string;
  /** The reason, for the audit log. */
  reason?: ChangeReason;
}

/** The progress of a tenant's rotation. */
export type Rotation = Schemas['Rotation'];

/** The last rotations, and the sweep that re-encrypts the cache. `warnings` states why no key is destroyed. */
export type Rotations = Schemas['Rotations'];

/** Names one key of a tenant. */
export interface KeyName {
  /** The tenant that owns the key. */
  tenant: string;
  /** The use of the key's keyset. */
  use: 'cache' | 'service' | 'field' | 'file';
  /** The class of the key's keyset. */
  class: DataClassification;
  /** The key id: 64 hexadecimal digits. */
  key: string;
}

/**
 * Options of a change that cannot be undone. The first call changes nothing and returns a `confirmation`; pass it
 * to a second call to make the change.
 */
export interface ConfirmOptions extends CallOptions {
  /** The confirmation of the first call, valid for ten minutes and while the keysets do not change. */
  confirmation?: string | undefined;
  /** The reason, for the audit log. */
  reason?: ChangeReason | undefined;
}

/** A key that is disabled or destroyed, or would be. */
export type KeyRetirement = Schemas['KeyRetirement'];

/** A tenant that is shredded, or would be. */
export type Shredding = Schemas['Shredding'];

/** An event of the audit log. */
export type Event = Schemas['Event'];

/** The head of the audit log: its last lines on disk. */
export type EventHead = Schemas['EventHead'];

/** Selects events of the audit log. Without members it selects all of them. */
export interface EventFilter {
  /** Events of this tenant. */
  tenant?: string;
  /** An action such as `key.open`, or the beginning of several, such as `key.`. */
  action?: string;
  /** Events of this severity or a higher one. */
  severity?: Schemas['Severity'];
  /** Events about data of this class. */
  class?: DataClassification;
  /** Events at this time or later. */
  since?: Date;
}

/** Options of {@link CofferClient.events}. */
export interface EventOptions extends CallOptions, EventFilter {
  /** The number of events to ask for in one request, 1 to 1,000. */
  pageSize?: number;
}

/** The readiness of a server, with the codes of components that it currently works without. */
export type Health = Schemas['Health'];
