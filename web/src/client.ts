/**
 * A client of Coffer's HTTP API, for browsers, workers and Node: what server/api/openapi.yaml describes, with the errors of the rest of
 * this package. Requests that are safe to repeat are retried after 429, 502, 503, 504 and failed connections, after the time that
 * `Retry-After` gives or else with growing, random pauses. A session is never created twice.
 *
 * @packageDocumentation
 */
import type { DataClassification, EncryptedPackage } from './index.js';
import {
  type Entry,
  type EntryHead,
  type EntryStream,
  type Opened,
  type SessionTimes,
  type Stored,
  entryOf,
  fromBase64,
  infoOf,
  openedOf,
  packageOf,
  resultError,
  storedOf,
  timesOf,
  ttlOf,
  typeOf,
} from './answers.js';
import { type CallOptions, type ClientOptions, Http, type Sent } from './http.js';
import type { CofferError } from './index.js';
import { toBase64 } from './json.js';
import type { components, operations } from './openapi.gen.js';

export type { Entry, EntryHead, EntryInfo, EntryStream, Opened, SessionTimes, Stored } from './answers.js';
export type { CallOptions, ClientOptions } from './http.js';

type Schemas = components['schemas'];

/** The type of a package at rest, as `Accept` of a read. */
const PACKAGE = 'application/vnd.coffer.package';

/** What an operation answers in JSON. */
type Json<K extends keyof operations> = operations[K]['responses'] extends { 200: { content: { 'application/json': infer T } } }
  ? T
  : operations[K]['responses'] extends { 201: { content: { 'application/json': infer T } } }
    ? T
    : never;

/** A time above 0: whole seconds, or a Go duration such as `90s` or `1h30m`. */
export type Duration = Schemas['Duration'] | number;

/** A line of the audit log. */
export type Event = Schemas['Event'];
/** The anchor of the audit log. */
export type EventHead = Schemas['EventHead'];
/** Which events are wanted; without any member, all of them. */
export interface EventFilter {
  /** Only events of this tenant. */
  tenant?: string;
  /** An action such as `key.open`, or what several begin with, such as `key.`. */
  action?: string;
  /** The lowest. */
  severity?: Schemas['Severity'];
  class?: DataClassification;
  since?: Date;
}

/** Whether a server can serve requests, and the codes of what it does without meanwhile. */
export type Health = Schemas['Health'];

/** What is known of a tenant's keys of a use and class: no key is in it. */
export type Keyset = Schemas['Keyset'];

/** A key that is disabled or destroyed, or will be when that is confirmed. */
export type KeyRetirement = Schemas['KeyRetirement'];
/** A tenant that is shredded, or will be when that is confirmed. */
export type Shredding = Schemas['Shredding'];
/** Names one key of a tenant. */
export interface KeyName {
  tenant: string;
  use: 'cache' | 'service' | 'field' | 'file';
  class: DataClassification;
  /** 64 hexadecimal digits. */
  key: string;
}
/** Options of a call that cannot be undone: it changes nothing without the `confirmation` that an earlier call answered. */
export interface ConfirmOptions extends CallOptions {
  confirmation?: string | undefined;
  reason?: ChangeReason | undefined;
}

/** Why keys are changed, for the audit log. */
export type ChangeReason = Schemas['Reason'];

/** How far a tenant's rotation has come. */
export type Rotation = Schemas['Rotation'];

/** Rotations, and the sweep of the cache that serves all of them. `warnings` says why no key is destroyed. */
export type Rotations = Schemas['Rotations'];

/** Options of a write. */
export interface SetOptions extends CallOptions {
  class: DataClassification;
  /** How long the value is kept; left out, as long as its class allows. */
  ttl?: Duration;
  /** Texts that are authenticated with the value, and readable beside it at rest. */
  context?: Readonly<Record<string, string>>;
  /** The value's type; that of a Blob or text if left out. */
  contentType?: string;
  /** Writes only if the entry has this ETag, or with `*` if there is one; otherwise `precondition_failed`. */
  ifMatch?: string;
  /** `*` writes only if there is no entry; otherwise `precondition_failed`. */
  ifNoneMatch?: '*';
}

/** Options of a read. */
export interface GetOptions extends CallOptions {
  /** The lowest class to accept: a value of a lower one is refused with `class_too_low`. */
  least?: DataClassification;
  /** Reads only if the entry has this ETag; otherwise `precondition_failed`. */
  ifMatch?: string;
  /** An ETag that the caller has: the answer is `'unchanged'` if the entry still has it. */
  ifNoneMatch?: string;
}

/** What a read answers beside a value, if it was asked by `ifNoneMatch`. */
export type Unchanged<O> = O extends { ifNoneMatch: string } ? 'unchanged' : never;

/** Options of a change of an entry. */
export interface MatchOptions extends CallOptions {
  /** Changes the entry only if it has this ETag; otherwise `precondition_failed`. */
  ifMatch?: string;
}

/** One operation of a batch. A text is stored as UTF-8. */
export type BatchOperation = Schemas['BatchGet'] | Schemas['BatchDelete'] | (Omit<Schemas['BatchSet'], 'value' | 'ttl'> & { value: string | Uint8Array; ttl?: Duration });

/** The result of one operation of a batch: `entry` of a `get`, `etag` of that and of a `set`, or why it failed. */
export interface BatchResult {
  status: number;
  entry?: Entry;
  etag?: string;
  error?: CofferError;
}

/** A value to be sealed: text stays text, bytes stay bytes. */
export interface Sealing {
  value: string | Uint8Array;
  class: DataClassification;
  context?: Readonly<Record<string, string>>;
}

/** A new session. Its id and a token of the tenant open it: treat the id like a password. */
export interface NewSession extends SessionTimes {
  id: string;
}

/** A session in force. */
export interface Session<T = Record<string, unknown>> extends SessionTimes {
  data: T;
}

/**
 * A client of one server with one token. It keeps nothing open, so it need not be closed.
 *
 * Calls reject with a {@link CofferError}: the server's `code`, with `status`, `requestId` and `retryAfter`; `unreachable` or
 * `timeout` if no answer came. After these two, and after `store_unavailable`, a write may have taken effect.
 */
export class CofferClient {
  readonly #http: Http;

  /** `baseUrl` is the server's, such as `https://coffer.example`, or `''` in a page that it serves. */
  constructor(baseUrl: string | URL, options: ClientOptions = {}) {
    this.#http = new Http(String(baseUrl), options);
  }

  /** Seals a value and stores it, in place of an earlier one. */
  set(key: string, value: string | Blob | ArrayBuffer | Uint8Array<ArrayBuffer>, options: SetOptions): Promise<Stored> {
    const { class: name, ttl, context, contentType, ifMatch, ifNoneMatch } = options;
    const headers = { 'Coffer-Context': context && asciiJson(context), 'Content-Type': contentType, 'If-Match': ifMatch, 'If-None-Match': ifNoneMatch };
    return this.#http.send('putEntry', { ...signalOf(options), name: key, query: { class: name, ttl }, headers, body: value }, storedOf);
  }

  /** Reads a value, which the server opens; `null` if there is none. */
  get<O extends GetOptions>(key: string, options?: O): Promise<Entry | Unchanged<O> | null> {
    return this.#get(key, '*/*', options, entryOf);
  }

  /** Reads a value as a stream, without holding it in memory; `null` if there is none. Once it has begun it is not retried. */
  getStream<O extends GetOptions>(key: string, options?: O): Promise<EntryStream | Unchanged<O> | null> {
    const read = (response: Response) => ({ ...infoOf(response), contentType: typeOf(response), body: response.body! });
    return this.#get(key, '*/*', options, read, true);
  }

  /** Reads the package as it lies at rest, sealed, in the binary form of SPEC.md section 3; what comes beside it is not authenticated. */
  getPackage<O extends GetOptions>(key: string, options?: O): Promise<Entry | Unchanged<O> | null> {
    return this.#get(key, PACKAGE, options, entryOf);
  }

  /** What is known of an entry without opening it, so unauthenticated; `null` if there is none. */
  head<O extends GetOptions>(key: string, options?: O): Promise<EntryHead | Unchanged<O> | null> {
    return orNull(this.#http.send('headEntry', readOf(key, options), (response) => unchanged<O, EntryHead>(response) ?? { ...infoOf(response), ttl: ttlOf(response) }));
  }

  /** Keeps the entry for `ttl` from now. Rejects with `not_found` if there is none. */
  expire(key: string, ttl: Duration, options: MatchOptions = {}): Promise<Stored> {
    return this.#http.send('patchEntry', { ...signalOf(options), name: key, query: { ttl }, headers: { 'If-Match': options.ifMatch } }, storedOf);
  }

  /** Deletes an entry; `false` if there was none. */
  async delete(key: string, options: MatchOptions = {}): Promise<boolean> {
    const sent = { ...signalOf(options), name: key, headers: { 'If-Match': options.ifMatch } };
    return (await orNull(this.#http.send('deleteEntry', sent, () => true))) ?? false;
  }

  /** The keys that begin with `prefix`, in no particular order; a key may come twice. Each request asks for `pageSize` keys, 1 to 1,000. */
  async *list(options: CallOptions & { prefix?: string; pageSize?: number } = {}): AsyncGenerator<string, void, undefined> {
    const { prefix, pageSize: limit } = options;
    for (let cursor: string | undefined; ; ) {
      const page: Json<'listEntries'> = await this.#http.send('listEntries', { ...signalOf(options), query: { prefix, limit, cursor } }, jsonOf<'listEntries'>);
      yield* page.keys;
      if ((cursor = page.cursor) === undefined) return;
    }
  }

  /**
   * Runs up to 1,000 operations in order. Each succeeds or fails alone, so check every result. Retried only if all of them are `get`, or all
   * are `set`: others could answer differently the second time.
   */
  async batch(operations: readonly BatchOperation[], options: CallOptions = {}): Promise<BatchResult[]> {
    const repeatable = ['get', 'set'].some((op) => operations.every((o) => o.op === op));
    const { results } = await this.#post('batchEntries', { operations: operations.map(stepOf) } satisfies Schemas['BatchRequest'], options, { repeatable });
    return results.map(({ status, etag, entry, code, detail }) => ({
      status,
      ...(etag !== undefined && { etag }),
      ...(entry && { entry: { ...entry, etag: etag ?? '', value: fromBase64(entry.value), encryptedAt: new Date(entry.encryptedAt) } }),
      ...(code && { error: resultError(code, status, detail) }),
    }));
  }

  /** The keysets of what the token administers, or of one tenant. Each request asks for `pageSize` tenants, 1 to 1,000. Needs `keys:admin`. */
  async *keysets(options: CallOptions & { tenant?: string; pageSize?: number } = {}): AsyncGenerator<Keyset, void, undefined> {
    const { tenant, pageSize: limit } = options;
    for (let cursor: string | undefined; ; ) {
      const page: Json<'listKeysets'> = await this.#http.send('listKeysets', { ...signalOf(options), query: { tenant, limit, cursor } }, jsonOf<'listKeysets'>);
      yield* page.keysets;
      if ((cursor = page.cursor) === undefined) return;
    }
  }

  /**
   * Makes new primary keys for a tenant, or the token's own, and has its servers re-encrypt the cache under them. `compromised` is for keys
   * that others may know: they never seal again, and there is no way back. `reason` is recorded in the audit log. Never retried: that could
   * rotate again. Needs `keys:admin`.
   */
  async rotate(options: CallOptions & { tenant?: string; class?: DataClassification; compromised?: boolean; reason?: ChangeReason } = {}): Promise<Rotation> {
    const { tenant, class: only, compromised, reason } = options;
    const query = { tenant, class: only, compromised: compromised ? 'true' : undefined, reason };
    return this.#http.send('rotateKeys', { ...signalOf(options), query }, jsonOf<'rotateKeys'>);
  }

  /** Makes the former keys of a tenant's last rotation the primaries again. Needs `keys:admin`. */
  async rollback(options: CallOptions & { tenant?: string; reason?: ChangeReason } = {}): Promise<Rotation> {
    const { tenant, reason } = options;
    return this.#http.send('rollbackKeys', { ...signalOf(options), query: { tenant, reason } }, jsonOf<'rollbackKeys'>);
  }

  /**
   * Disables a former key of packages, files or fields: it opens nothing from then on, and is never enabled again. The first call changes nothing; it
   * answers what the change means, with a `confirmation` for the second, valid for ten minutes and while the keysets do not change. Rejects with
   * `key_unusable` for a key that is still needed. Needs `keys:admin` and an operator's token, as do the next two.
   */
  disableKey(key: KeyName, options: ConfirmOptions = {}): Promise<KeyRetirement> {
    return this.#confirm('disableKey', { ...key }, options);
  }

  /** Destroys a disabled or compromised key for good, in two steps as {@link disableKey}. */
  destroyKey(key: KeyName, options: ConfirmOptions = {}): Promise<KeyRetirement> {
    return this.#confirm('destroyKey', { ...key }, options);
  }

  /** Destroys a tenant's keys, and with them its data, for good, in two steps as {@link disableKey}; once it is `changed`, every server refuses the data. */
  shredTenant(tenant: string, options: ConfirmOptions = {}): Promise<Shredding> {
    return this.#confirm('shredTenant', { tenant }, options);
  }

  /** The last rotation of a tenant, or of every tenant that the token administers, and the sweep of the cache. Needs `keys:admin`. */
  async rotations(options: CallOptions & { tenant?: string } = {}): Promise<Rotations> {
    return this.#http.send('listRotations', { ...signalOf(options), query: { tenant: options.tenant } }, jsonOf<'listRotations'>);
  }

  /** Seals a value into a package to keep wherever you like; nothing is stored. */
  async encrypt(sealing: Sealing, options: CallOptions = {}): Promise<EncryptedPackage> {
    return packageOf(await this.#post('encrypt', sealingOf(sealing), options));
  }

  /** Seals up to 1,000 values; each becomes a package or an error. */
  async encryptBatch(items: readonly Sealing[], options: CallOptions = {}): Promise<(EncryptedPackage | CofferError)[]> {
    const { results } = await this.#post('encryptBatch', { items: items.map(sealingOf) }, options);
    return results.map(({ package: sealed, code, status, detail }) => (sealed ? packageOf(sealed) : resultError(code, status, detail)));
  }

  /** Opens a package of {@link encrypt}. Check that its context is the one you expect. */
  async decrypt(sealed: EncryptedPackage, options: CallOptions & { least?: DataClassification } = {}): Promise<Opened> {
    return openedOf(await this.#post('decrypt', sealed, options, { query: { least: options.least } }));
  }

  /** Opens up to 1,000 packages; each becomes a value or an error. */
  async decryptBatch(items: readonly EncryptedPackage[], options: CallOptions & { least?: DataClassification } = {}): Promise<(Opened | CofferError)[]> {
    const { results } = await this.#post('decryptBatch', { items }, options, { query: { least: options.least } });
    return results.map(({ opened, code, status, detail }) => (opened ? openedOf(opened) : resultError(code, status, detail)));
  }

  /** Creates an encrypted session; `ttl` is an hour if left out. Never retried: that would make a second session. */
  async createSession(data: Record<string, unknown>, options: CallOptions & { ttl?: Duration } = {}): Promise<NewSession> {
    const made = await this.#post('createSession', { data, ...ttlMember(options.ttl) }, options);
    return { id: made.id, ...timesOf(made) };
  }

  /** Verifies a session and reads its data; `null` if it is not in force, for whatever reason. */
  getSession<T = Record<string, unknown>>(id: string, options: CallOptions = {}): Promise<Session<T> | null> {
    return orNull(
      this.#http.send('getSession', { ...signalOf(options), name: id }, async (response) => {
        const session = await jsonOf<'getSession'>(response);
        return { data: session.data as T, ...timesOf(session) };
      }),
    );
  }

  /** Keeps a session in force for `ttl` from now, at most 24 hours from its creation. Rejects with `not_found` if it is not in force. */
  extendSession(id: string, ttl: Duration, options: CallOptions = {}): Promise<SessionTimes> {
    return this.#http.send('extendSession', { ...signalOf(options), name: id, query: { ttl } }, async (response) => timesOf(await jsonOf<'extendSession'>(response)));
  }

  /** Ends a session. There being none is no error. */
  endSession(id: string, options: CallOptions = {}): Promise<void> {
    return this.#http.send('endSession', { ...signalOf(options), name: id }, () => undefined);
  }

  /**
   * The events of the token's tenant in the audit log, newest first; for an operator's token, all of them. Each request asks for `pageSize`
   * events, 1 to 1,000. Needs `audit:read`.
   */
  async *events(options: CallOptions & EventFilter & { pageSize?: number } = {}): AsyncGenerator<Event, void, undefined> {
    const { tenant, action, severity, class: cls, since, pageSize: limit } = options;
    for (let cursor: string | undefined; ; ) {
      const query = { tenant, action, severity, class: cls, since: since?.toISOString(), limit, cursor };
      const page: Json<'listEvents'> = await this.#http.send('listEvents', { ...signalOf(options), query }, jsonOf<'listEvents'>);
      yield* page.events;
      if ((cursor = page.cursor) === undefined) return;
    }
  }

  /** The last lines of the audit log that are on disk, to be kept elsewhere. Needs `audit:read`. */
  eventHead(options: CallOptions = {}): Promise<EventHead> {
    return this.#http.send('getEventHead', signalOf(options), jsonOf<'getEventHead'>);
  }

  /** The server's metrics in Prometheus' text format. */
  metrics(options: CallOptions = {}): Promise<string> {
    return this.#text('getMetrics', options);
  }

  /** Resolves if the server's process answers. */
  live(options: CallOptions = {}): Promise<void> {
    return this.#http.send('getLive', signalOf(options), () => undefined);
  }

  /** Resolves if the server can serve requests now, with what it does without meanwhile. Never retried: not being ready is an answer. */
  ready(options: CallOptions = {}): Promise<Health> {
    return this.#http.send('getReady', { ...signalOf(options), repeatable: false }, jsonOf<'getReady'>);
  }

  /** The OpenAPI document that the server was built with, in YAML. */
  document(options: CallOptions = {}): Promise<string> {
    return this.#text('getDocument', options);
  }

  /** That document as an HTML page. */
  docs(options: CallOptions = {}): Promise<string> {
    return this.#text('getDocs', options);
  }

  #get<O extends GetOptions, T>(key: string, accept: string, options: O | undefined, read: (response: Response) => T | Promise<T>, streams = false): Promise<T | Unchanged<O> | null> {
    const sent = readOf(key, options);
    return orNull(this.#http.send('getEntry', { ...sent, streams, headers: { ...sent.headers, Accept: accept } }, (response) => unchanged<O, T>(response) ?? read(response)));
  }

  #post<K extends keyof operations>(operation: K & Parameters<Http['send']>[0], body: unknown, options: CallOptions, more: Sent = {}): Promise<Json<K>> {
    const headers = { 'Content-Type': 'application/json' };
    return this.#http.send(operation, { ...more, ...signalOf(options), headers, body: JSON.stringify(body) }, jsonOf<K>);
  }

  #confirm<K extends 'disableKey' | 'destroyKey' | 'shredTenant'>(operation: K, about: Record<string, string>, options: ConfirmOptions): Promise<Json<K>> {
    return this.#http.send(operation, { ...signalOf(options), query: { ...about, confirm: options.confirmation, reason: options.reason } }, jsonOf<K>);
  }

  #text(operation: 'getMetrics' | 'getDocument' | 'getDocs', options: CallOptions): Promise<string> {
    return this.#http.send(operation, signalOf(options), (response) => response.text());
  }
}

const signalOf = ({ signal }: CallOptions): CallOptions => (signal ? { signal } : {});

function readOf(key: string, options: GetOptions = {}): Sent {
  const headers = { 'If-Match': options.ifMatch, 'If-None-Match': options.ifNoneMatch };
  return { ...signalOf(options), name: key, query: { least: options.least }, headers };
}

/** `'unchanged'` for 304, which only a caller of `ifNoneMatch` is answered. */
const unchanged = <O, T>(response: Response): T | Unchanged<O> | undefined => (response.status === 304 ? ('unchanged' as Unchanged<O>) : undefined);

/** There being nothing is no failure of a read. */
async function orNull<T>(promise: Promise<T>): Promise<T | null> {
  return promise.catch((error: CofferError) => {
    if (error?.code === 'not_found') return null;
    throw error;
  });
}

const jsonOf = async <K extends keyof operations>(response: Response): Promise<Json<K>> => JSON.parse(await response.text()) as Json<K>;

function stepOf(o: BatchOperation): Schemas['BatchRequest']['operations'][number] {
  if (o.op !== 'set') return o;
  const { ttl, ...rest } = o;
  return { ...rest, ...ttlMember(ttl), value: toBase64(utf8(o.value)) };
}

const ttlMember = (ttl?: Duration): { ttl?: string } => (ttl === undefined ? {} : { ttl: String(ttl) });

function sealingOf({ value, class: name, context }: Sealing): Schemas['EncryptRequest'] {
  return { ...(typeof value === 'string' ? { text: value } : { data: toBase64(value) }), class: name, ...(context && { context }) };
}

const utf8 = (value: string | Uint8Array): Uint8Array => (typeof value === 'string' ? new TextEncoder().encode(value) : value);

/** JSON in ASCII, the only text that a header carries safely. */
function asciiJson(value: Readonly<Record<string, string>>): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
