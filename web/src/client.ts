/**
 * A client of Coffer's HTTP API, for browsers, workers and Node: what server/api/openapi.yaml describes, with the errors of the rest of
 * this package. What may be sent twice without harm is sent again after 429, 502, 503, 504 and failed connections, as long as `Retry-After`
 * says and else with growing, random pauses; a session is never created twice.
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
/** Which events are wanted; what is left out is all. */
export interface EventFilter {
  /** Whose events; left out, of what the token may see. */
  tenant?: string;
  /** An action such as `key.open`, or the begin of several with its dot, such as `key.`. */
  action?: string;
  /** The least. */
  severity?: Schemas['Severity'];
  class?: DataClassification;
  since?: Date;
}

/** Whether a server can serve requests, and the codes of what does not work meanwhile. */
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
/** Options of what cannot be undone: without the `confirmation` of an answer nothing is changed. */
export interface ConfirmOptions extends CallOptions {
  confirmation?: string | undefined;
}

/** How far a tenant's rotation has come. */
export type Rotation = Schemas['Rotation'];

/** Options of a write. */
export interface SetOptions extends CallOptions {
  class: DataClassification;
  /** How long the value is kept; left out, as long as its class allows. */
  ttl?: Duration;
  /** Texts that are authenticated with the value and stand readable beside it. */
  context?: Readonly<Record<string, string>>;
  /** The value's type; that of a Blob or text if left out. */
  contentType?: string;
  /** Writes only over the entry of this ETag, or with `*` over any; else `precondition_failed`. */
  ifMatch?: string;
  /** `*` writes only where there is no entry; else `precondition_failed`. */
  ifNoneMatch?: '*';
}

/** Options of a read. */
export interface GetOptions extends CallOptions {
  /** The lowest class to accept: a value of a lower one is refused with `class_too_low`. */
  least?: DataClassification;
  /** Reads only the entry of this ETag; else `precondition_failed`. */
  ifMatch?: string;
  /** An ETag that the caller has: `'unchanged'` is the answer where the entry still is that one. */
  ifNoneMatch?: string;
}

/** What a read answers beside a value, if it was asked by `ifNoneMatch`. */
export type Unchanged<O> = O extends { ifNoneMatch: string } ? 'unchanged' : never;

/** Options of a change of an entry. */
export interface MatchOptions extends CallOptions {
  /** Changes only the entry of this ETag; else `precondition_failed`. */
  ifMatch?: string;
}

/** One operation of a batch. A text is stored as UTF-8. */
export type BatchOperation = Schemas['BatchGet'] | Schemas['BatchDelete'] | (Omit<Schemas['BatchSet'], 'value' | 'ttl'> & { value: string | Uint8Array; ttl?: Duration });

/** What one of a batch was answered: `entry` for a `get`, `etag` for it and for a `set`, or why it failed. */
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

/** A new session. Whoever has its id and a token of the tenant opens it: treat the id like a password. */
export interface NewSession extends SessionTimes {
  id: string;
}

/** A session in force. */
export interface Session<T = Record<string, unknown>> extends SessionTimes {
  data: T;
}

/**
 * A client of one server under one token; it holds no connection and needs no closing.
 *
 * Calls reject with a {@link CofferError}: the server's `code`, with `status`, `requestId` and `retryAfter`; `unreachable` or
 * `timeout` where no answer came. After these two, and after `store_unavailable`, a write may have taken effect.
 */
export class CofferClient {
  readonly #http: Http;

  /** `baseUrl` is the server's: `https://coffer.example`, or in a page of its own origin the empty text. */
  constructor(baseUrl: string | URL, options: ClientOptions = {}) {
    this.#http = new Http(String(baseUrl), options);
  }

  /** Seals a value and stores it in place of an earlier one. */
  set(key: string, value: string | Blob | ArrayBuffer | Uint8Array<ArrayBuffer>, options: SetOptions): Promise<Stored> {
    const { class: name, ttl, context, contentType, ifMatch, ifNoneMatch } = options;
    const headers = { 'Coffer-Context': context && asciiJson(context), 'Content-Type': contentType, 'If-Match': ifMatch, 'If-None-Match': ifNoneMatch };
    return this.#http.send('putEntry', { ...signalOf(options), name: key, query: { class: name, ttl }, headers, body: value }, storedOf);
  }

  /** Reads a value that the server opened; `null` where there is none. */
  get<O extends GetOptions>(key: string, options?: O): Promise<Entry | Unchanged<O> | null> {
    return this.#get(key, '*/*', options, entryOf);
  }

  /** Reads a value as a stream, without holding it in memory; `null` where there is none. Once it has begun it is not repeated. */
  getStream<O extends GetOptions>(key: string, options?: O): Promise<EntryStream | Unchanged<O> | null> {
    const read = (response: Response) => ({ ...infoOf(response), contentType: typeOf(response), body: response.body! });
    return this.#get(key, '*/*', options, read, true);
  }

  /** Reads the package as it lies at rest, sealed, in the binary form of SPEC.md section 3; what comes beside it is not authenticated. */
  getPackage<O extends GetOptions>(key: string, options?: O): Promise<Entry | Unchanged<O> | null> {
    return this.#get(key, PACKAGE, options, entryOf);
  }

  /** What is known of an entry without opening it, so not authenticated; `null` where there is none. */
  head<O extends GetOptions>(key: string, options?: O): Promise<EntryHead | Unchanged<O> | null> {
    return orNull(this.#http.send('headEntry', readOf(key, options), (response) => unchanged<O, EntryHead>(response) ?? { ...infoOf(response), ttl: ttlOf(response) }));
  }

  /** Keeps the entry for `ttl` from now. Rejects with `not_found` where there is none. */
  expire(key: string, ttl: Duration, options: MatchOptions = {}): Promise<Stored> {
    return this.#http.send('patchEntry', { ...signalOf(options), name: key, query: { ttl }, headers: { 'If-Match': options.ifMatch } }, storedOf);
  }

  /** Deletes an entry; `false` where there was none. */
  async delete(key: string, options: MatchOptions = {}): Promise<boolean> {
    const sent = { ...signalOf(options), name: key, headers: { 'If-Match': options.ifMatch } };
    return (await orNull(this.#http.send('deleteEntry', sent, () => true))) ?? false;
  }

  /** The keys that begin with `prefix`, in no order; one may come twice. `pageSize` keys, 1 to 1,000, are asked for at a time. */
  async *list(options: CallOptions & { prefix?: string; pageSize?: number } = {}): AsyncGenerator<string, void, undefined> {
    const { prefix, pageSize: limit } = options;
    for (let cursor: string | undefined; ; ) {
      const page: Json<'listEntries'> = await this.#http.send('listEntries', { ...signalOf(options), query: { prefix, limit, cursor } }, jsonOf<'listEntries'>);
      yield* page.keys;
      if ((cursor = page.cursor) === undefined) return;
    }
  }

  /**
   * Does up to 1,000 operations in their order, each for itself: look at each result. Sent again only where all of them are `get`, or
   * all are `set`: of others a second run may answer otherwise than the first did.
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

  /** The keysets of what the token administers, or of one tenant; `pageSize` tenants, 1 to 1,000, are asked for at a time. Needs `keys:admin`. */
  async *keysets(options: CallOptions & { tenant?: string; pageSize?: number } = {}): AsyncGenerator<Keyset, void, undefined> {
    const { tenant, pageSize: limit } = options;
    for (let cursor: string | undefined; ; ) {
      const page: Json<'listKeysets'> = await this.#http.send('listKeysets', { ...signalOf(options), query: { tenant, limit, cursor } }, jsonOf<'listKeysets'>);
      yield* page.keysets;
      if ((cursor = page.cursor) === undefined) return;
    }
  }

  /**
   * Makes new primary keys for a tenant, or the token's own, and has its servers bring the cache under them. Keys that others may know are
   * `compromised`: they never seal again, and there is no way back. Sent once: a second time may rotate again. Needs `keys:admin`.
   */
  async rotate(options: CallOptions & { tenant?: string; class?: DataClassification; compromised?: boolean } = {}): Promise<Rotation> {
    const { tenant, class: only, compromised } = options;
    const query = { tenant, class: only, compromised: compromised ? 'true' : undefined };
    return this.#http.send('rotateKeys', { ...signalOf(options), query }, jsonOf<'rotateKeys'>);
  }

  /** Makes the former keys of a tenant's last rotation the primaries again. Needs `keys:admin`. */
  async rollback(options: CallOptions & { tenant?: string } = {}): Promise<Rotation> {
    return this.#http.send('rollbackKeys', { ...signalOf(options), query: { tenant: options.tenant } }, jsonOf<'rollbackKeys'>);
  }

  /**
   * Disables a former key of packages, files or fields, so that it opens nothing any more; it is never enabled again. The first call changes nothing and
   * answers what it means, with a `confirmation` for the second, good for ten minutes and as long as the keysets stay as they are. Rejects with
   * `key_unusable` for a key that is needed. Needs `keys:admin` and an operator's token, as do the next two.
   */
  disableKey(key: KeyName, options: ConfirmOptions = {}): Promise<KeyRetirement> {
    return this.#confirm('disableKey', { ...key }, options);
  }

  /** Destroys the material of a key that is disabled or compromised, for ever, in two steps as {@link disableKey}. */
  destroyKey(key: KeyName, options: ConfirmOptions = {}): Promise<KeyRetirement> {
    return this.#confirm('destroyKey', { ...key }, options);
  }

  /** Destroys a tenant's keys, and with them its data, for ever, in two steps as {@link disableKey}; when it is `changed`, every server refuses the data. */
  shredTenant(tenant: string, options: ConfirmOptions = {}): Promise<Shredding> {
    return this.#confirm('shredTenant', { tenant }, options);
  }

  /** The last rotation of a tenant, or of every tenant that the token administers. Needs `keys:admin`. */
  async rotations(options: CallOptions & { tenant?: string } = {}): Promise<Rotation[]> {
    const sent = { ...signalOf(options), query: { tenant: options.tenant } };
    return (await this.#http.send('listRotations', sent, jsonOf<'listRotations'>)).rotations;
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

  /** Creates an encrypted session; `ttl` is an hour if left out. Never sent twice: a second request would make a second session. */
  async createSession(data: Record<string, unknown>, options: CallOptions & { ttl?: Duration } = {}): Promise<NewSession> {
    const made = await this.#post('createSession', { data, ...ttlMember(options.ttl) }, options);
    return { id: made.id, ...timesOf(made) };
  }

  /** Verifies a session and reads its data; `null` where it is not in force, for whatever reason. */
  getSession<T = Record<string, unknown>>(id: string, options: CallOptions = {}): Promise<Session<T> | null> {
    return orNull(
      this.#http.send('getSession', { ...signalOf(options), name: id }, async (response) => {
        const session = await jsonOf<'getSession'>(response);
        return { data: session.data as T, ...timesOf(session) };
      }),
    );
  }

  /** Keeps a session in force for `ttl` from now, at most 24 hours from its creation. Rejects with `not_found` where it is not in force. */
  extendSession(id: string, ttl: Duration, options: CallOptions = {}): Promise<SessionTimes> {
    return this.#http.send('extendSession', { ...signalOf(options), name: id, query: { ttl } }, async (response) => timesOf(await jsonOf<'extendSession'>(response)));
  }

  /** Ends a session, whether or not there is one. */
  endSession(id: string, options: CallOptions = {}): Promise<void> {
    return this.#http.send('endSession', { ...signalOf(options), name: id }, () => undefined);
  }

  /**
   * The events of the token's tenant in the audit log, the newest first; of an operator's token, all. `pageSize` events, 1 to 1,000, are asked
   * for at a time. Needs `audit:read`.
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

  /** The audit log's last line that is on the disk, to be kept elsewhere. Needs `audit:read`. */
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

  /** Resolves if the server can serve requests now, with what does not work meanwhile. Asked once: not to be ready is an answer. */
  ready(options: CallOptions = {}): Promise<Health> {
    return this.#http.send('getReady', { ...signalOf(options), repeatable: false }, jsonOf<'getReady'>);
  }

  /** The OpenAPI document that the server was built with, in YAML. */
  document(options: CallOptions = {}): Promise<string> {
    return this.#text('getDocument', options);
  }

  /** The same document as a page. */
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
    return this.#http.send(operation, { ...signalOf(options), query: { ...about, confirm: options.confirmation } }, jsonOf<K>);
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
