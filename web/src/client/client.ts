import type { DataClassification, EncryptedPackage } from '../index.js';
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
  isLong,
  openedOf,
  packageOf,
  parseJson,
  resultError,
  storedOf,
  timesOf,
  ttlOf,
  typeOf,
  withContext,
} from './answers.js';
import {
  type Binary,
  type Duration,
  checkKey,
  checkLeast,
  checkList,
  checkName,
  checkObject,
  checkOptions,
  checkPackage,
  checkPageSize,
  checkText,
  checkTtl,
  invalid,
} from './arguments.js';
import { type CallOptions, Http, type Sent, notCoffer } from './http.js';
import type { CofferError } from '../index.js';
import type { components, operations } from './openapi.gen.js';
import { stringify } from '../core/plain.js';
import {
  callOf,
  eventQuery,
  keyNameOf,
  matchOf,
  readOf,
  sealingOf,
  sessionOf,
  signalOf,
  stepOf,
  ttlMember,
  writeOf,
} from './requests.js';
import type { ClientOptions } from './settings.js';

type Schemas = components['schemas'];

/** The type of a package at rest, as `Accept` of a read. */
const PACKAGE = 'application/vnd.coffer.package';

/** What an operation answers in JSON. */
type Json<K extends keyof operations> = operations[K]['responses'] extends {
  200: { content: { 'application/json': infer T } };
}
  ? T
  : operations[K]['responses'] extends { 201: { content: { 'application/json': infer T } } }
    ? T
    : never;

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
  minClass?: DataClassification;
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
export type BatchOperation =
  | Schemas['BatchGet']
  | Schemas['BatchDelete']
  | (Omit<Schemas['BatchSet'], 'value' | 'ttl'> & { value: string | Binary; ttl?: Duration });

/** The result of one operation of a batch: `entry` of a `get`, `etag` of that and of a `set`, or why it failed. */
export interface BatchResult {
  status: number;
  entry?: Entry;
  etag?: string;
  error?: CofferError;
}

/** A value to be sealed: text stays text, bytes stay bytes. */
export interface Sealing {
  value: string | Binary;
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
 * Neither the constructor nor a call throws: every call returns a promise, and rejects with a {@link CofferError}, or with the reason of
 * its signal. An argument or a setting that is not valid, a misspelled option included, is `invalid_argument` before anything is sent.
 * The other errors have the server's `code`, with `status`, `requestId` and `retryAfter`, or `unreachable` or `timeout` if no answer
 * came. After these two, and after `store_unavailable`, a write may have taken effect.
 */
export class CofferClient {
  readonly #http: Http;

  /** `baseUrl` is the server's, such as `https://coffer.example`, or `''` in a page that it serves. */
  constructor(baseUrl: string | URL, options: ClientOptions = {}) {
    this.#http = new Http(baseUrl, options);
  }

  /**
   * Seals a value and stores it, in place of an earlier one. A text is stored as UTF-8, and a typed array, DataView or buffer as its bytes,
   * which are copied at once; a Blob or File is read while it is sent. For any other value use `JSON.stringify`.
   *
   * @throws `invalid_argument` for another value, or a file that cannot be read; `too_large`, `ttl_out_of_range`, `precondition_failed`.
   */
  async set(key: string, value: string | Blob | Binary, options: SetOptions): Promise<Stored> {
    return this.#http.send('putEntry', writeOf(key, value, options), storedOf);
  }

  /**
   * Reads a value, which the server opens; `null` if it is missing.
   *
   * @throws `authentication_failed`, `class_too_low`, `precondition_failed` and the codes of keys.
   */
  async get<O extends GetOptions>(key: string, options?: O): Promise<Entry | Unchanged<O> | null> {
    return this.#get(key, '*/*', options, entryOf);
  }

  /**
   * Reads a value as a stream, without holding it in memory; `null` if the entry is missing. Once it has begun it is not retried: the stream then
   * fails with `unreachable`, or with the reason of the signal.
   *
   * @throws As {@link get}.
   */
  async getStream<O extends GetOptions>(
    key: string,
    options?: O,
  ): Promise<EntryStream | Unchanged<O> | null> {
    const read = (response: Response) => ({
      ...infoOf(response),
      contentType: typeOf(response),
      body: response.body ?? (new Blob().stream() as ReadableStream<Uint8Array<ArrayBuffer>>),
    });
    return this.#get(key, '*/*', options, read, true);
  }

  /** Reads the package as it lies at rest, sealed, in the binary form of SPEC.md section 3. The server refuses one that does not open, as for `get`. */
  async getPackage<O extends GetOptions>(
    key: string,
    options?: O,
  ): Promise<Entry | Unchanged<O> | null> {
    return this.#get(key, PACKAGE, options, entryOf);
  }

  /** The header of an entry's package; `null` if it is missing. The server refuses a package that does not open, as for `get`. */
  async head<O extends GetOptions>(
    key: string,
    options?: O,
  ): Promise<EntryHead | Unchanged<O> | null> {
    let long = false;
    const head = await orNull(
      this.#http.send('headEntry', readOf(key, options), (response) => {
        long = isLong(response);
        return unchanged<O, EntryHead>(response) ?? { ...infoOf(response), ttl: ttlOf(response) };
      }),
    );
    if (!long) return head;
    const read = async (response: Response): Promise<EntryHead> => {
      await response.body?.cancel();
      return { ...infoOf(response), ttl: (head as EntryHead).ttl };
    };
    return this.#read(
      key,
      PACKAGE,
      options,
      async (response) => read(await withContext(response)),
      { context: 'body' },
    );
  }

  /**
   * Keeps the entry for `ttl` from now.
   *
   * @throws `not_found` if it is missing, `ttl_out_of_range`, `precondition_failed`.
   */
  async expire(key: string, ttl: Duration, options: MatchOptions = {}): Promise<Stored> {
    return this.#http.send(
      'patchEntry',
      { ...matchOf(key, options), query: { ttl: checkTtl(ttl) } },
      storedOf,
    );
  }

  /**
   * Deletes an entry; `false` if there was none.
   *
   * @throws `precondition_failed`.
   */
  async delete(key: string, options: MatchOptions = {}): Promise<boolean> {
    return (
      (await orNull(this.#http.send('deleteEntry', matchOf(key, options), () => true))) ?? false
    );
  }

  /** The keys that begin with `prefix`, in no particular order; a key may come twice. Each request asks for `pageSize` keys, 1 to 1,000. */
  async *list(
    options: CallOptions & { prefix?: string; pageSize?: number } = {},
  ): AsyncGenerator<string, void, undefined> {
    const { prefix, pageSize } = checkOptions(options, 'prefix', 'pageSize', 'signal');
    const query = {
      prefix: prefix === undefined ? undefined : checkText('prefix', prefix),
      limit: checkPageSize(pageSize),
    };
    for (let cursor: string | undefined; ; ) {
      const page: Json<'listEntries'> = await this.#http.send(
        'listEntries',
        { ...signalOf(options), query: { ...query, cursor } },
        jsonOf<'listEntries'>,
      );
      yield* page.keys;
      if ((cursor = page.cursor) === undefined) return;
    }
  }

  /**
   * Runs up to 1,000 operations in order. Each succeeds or fails alone, so check every result. Retried only if all of them are `get`, or all
   * are `set`: others could answer differently the second time.
   *
   * @throws `invalid_argument`, with nothing done, if one of the operations is not valid.
   */
  async batch(
    operations: readonly BatchOperation[],
    options: CallOptions = {},
  ): Promise<BatchResult[]> {
    const steps = checkList<BatchOperation>('operations', operations).map(stepOf);
    const repeatable = ['get', 'set'].some((op) => steps.every((o) => o.op === op));
    const answer = await this.#post(
      'batchEntries',
      { operations: steps } satisfies Schemas['BatchRequest'],
      options,
      { repeatable },
    );
    return resultsOf(answer, steps).map(({ status, etag, entry, code, detail }) => ({
      status,
      ...(etag !== undefined && { etag }),
      ...(entry && {
        entry: {
          ...entry,
          etag: etag ?? '',
          value: fromBase64(entry.value),
          encryptedAt: new Date(entry.encryptedAt),
        },
      }),
      ...(code && { error: resultError(code, status, detail) }),
    }));
  }

  /** The keysets of what the token administers, or of one tenant. Each request asks for `pageSize` tenants, 1 to 1,000. Needs `keys:admin`. */
  async *keysets(
    options: CallOptions & { tenant?: string; pageSize?: number } = {},
  ): AsyncGenerator<Keyset, void, undefined> {
    const { tenant, pageSize } = checkOptions(options, 'tenant', 'pageSize', 'signal');
    const query = { tenant: checkName('tenant', tenant), limit: checkPageSize(pageSize) };
    for (let cursor: string | undefined; ; ) {
      const page: Json<'listKeysets'> = await this.#http.send(
        'listKeysets',
        { ...signalOf(options), query: { ...query, cursor } },
        jsonOf<'listKeysets'>,
      );
      yield* page.keysets;
      if ((cursor = page.cursor) === undefined) return;
    }
  }

  /**
   * Makes new primary keys for a tenant, or the token's own, and has its servers re-encrypt the cache under them. `compromised` is for keys
   * that others may know: they never seal again, and there is no way back. `reason` is recorded in the audit log. Never retried: that could
   * rotate again. Needs `keys:admin`.
   */
  async rotate(
    options: CallOptions & {
      tenant?: string;
      class?: DataClassification;
      compromised?: boolean;
      reason?: ChangeReason;
    } = {},
  ): Promise<Rotation> {
    const {
      tenant,
      class: only,
      compromised = false,
      reason,
    } = checkOptions(options, 'tenant', 'class', 'compromised', 'reason', 'signal');
    if (typeof compromised !== 'boolean') throw invalid('compromised is true or false');
    const body = {
      tenant: checkName('tenant', tenant),
      class: checkLeast(only),
      compromised: compromised || undefined,
      reason: checkName('reason', reason),
    };
    return this.#post('rotateKeys', body, signalOf(options));
  }

  /** Makes the former keys of a tenant's last rotation the primaries again. Needs `keys:admin`. */
  async rollback(
    options: CallOptions & { tenant?: string; reason?: ChangeReason } = {},
  ): Promise<Rotation> {
    const { tenant, reason } = checkOptions(options, 'tenant', 'reason', 'signal');
    return this.#post(
      'rollbackKeys',
      { tenant: checkName('tenant', tenant), reason: checkName('reason', reason) },
      signalOf(options),
    );
  }

  /**
   * Disables a former key of packages, files or fields: it opens nothing from then on, and is never enabled again. The first call changes nothing; it
   * answers what the change means, with a `confirmation` for the second, valid for ten minutes and while the keysets do not change. Rejects with
   * `key_unusable` for a key that is still needed. Needs `keys:admin` and an operator's token, as do the next two.
   */
  async disableKey(key: KeyName, options: ConfirmOptions = {}): Promise<KeyRetirement> {
    return this.#confirm('disableKey', keyNameOf(key), options);
  }

  /** Destroys a disabled or compromised key for good, in two steps as {@link disableKey}. */
  async destroyKey(key: KeyName, options: ConfirmOptions = {}): Promise<KeyRetirement> {
    return this.#confirm('destroyKey', keyNameOf(key), options);
  }

  /** Destroys a tenant's keys, and with them its data, for good, in two steps as {@link disableKey}; once it is `changed`, every server refuses the data. */
  async shredTenant(tenant: string, options: ConfirmOptions = {}): Promise<Shredding> {
    return this.#confirm('shredTenant', { tenant: checkKey('tenant', tenant) }, options);
  }

  /** The last rotation of a tenant, or of every tenant that the token administers, and the sweep of the cache. Needs `keys:admin`. */
  async rotations(options: CallOptions & { tenant?: string } = {}): Promise<Rotations> {
    const { tenant } = checkOptions(options, 'tenant', 'signal');
    return this.#http.send(
      'listRotations',
      { ...signalOf(options), query: { tenant: checkName('tenant', tenant) } },
      jsonOf<'listRotations'>,
    );
  }

  /**
   * Seals a value into a package to keep wherever you like; nothing is stored. Text is opened as text, and whatever else has bytes as bytes.
   *
   * @throws `invalid_argument` for a value that is neither text nor bytes, such as an object or a Blob; `too_large`.
   */
  async encrypt(sealing: Sealing, options: CallOptions = {}): Promise<EncryptedPackage> {
    return packageOf(await this.#post('encrypt', sealingOf(sealing), options));
  }

  /** Seals up to 1,000 values as {@link encrypt} does; each becomes a package or an error. */
  async encryptBatch(
    items: readonly Sealing[],
    options: CallOptions = {},
  ): Promise<(EncryptedPackage | CofferError)[]> {
    const answer = await this.#post(
      'encryptBatch',
      { items: checkList<Sealing>('items', items).map(sealingOf) },
      options,
    );
    return resultsOf(answer, items).map(({ package: sealed, code, status, detail }) =>
      sealed ? packageOf(sealed) : resultError(code, status, detail),
    );
  }

  /**
   * Opens a package of {@link encrypt}. Check that its context is the one you expect.
   *
   * @throws `malformed`, `authentication_failed`, `class_too_low` and the codes of keys.
   */
  async decrypt(
    sealed: EncryptedPackage,
    options: CallOptions & { minClass?: DataClassification } = {},
  ): Promise<Opened> {
    const { minClass, ...call } = checkOptions(options, 'minClass', 'signal');
    return openedOf(
      await this.#post('decrypt', checkPackage(sealed), call, {
        query: { min_class: checkLeast(minClass) },
      }),
    );
  }

  /** Opens up to 1,000 packages; each becomes a value or an error. */
  async decryptBatch(
    items: readonly EncryptedPackage[],
    options: CallOptions & { minClass?: DataClassification } = {},
  ): Promise<(Opened | CofferError)[]> {
    const { minClass, ...call } = checkOptions(options, 'minClass', 'signal');
    const packages = checkList<EncryptedPackage>('items', items).map(checkPackage);
    const answer = await this.#post('decryptBatch', { items: packages }, call, {
      query: { min_class: checkLeast(minClass) },
    });
    return resultsOf(answer, packages).map(({ opened, code, status, detail }) =>
      opened ? openedOf(opened) : resultError(code, status, detail),
    );
  }

  /**
   * Creates an encrypted session; `ttl` is an hour if left out. Never retried: that would make a second session.
   *
   * @throws `invalid_argument` if the data are not an object of JSON throughout; `too_large`, `ttl_out_of_range`.
   */
  async createSession(
    data: Record<string, unknown>,
    options: CallOptions & { ttl?: Duration } = {},
  ): Promise<NewSession> {
    const { ttl, ...call } = checkOptions(options, 'ttl', 'signal');
    const made = await this.#post(
      'createSession',
      { data: checkObject('data', data), ...ttlMember(ttl) },
      call,
    );
    return { id: made.id, ...timesOf(made) };
  }

  /** Verifies a session and reads its data; `null` if it is not in force, for whatever reason. */
  async getSession<T = Record<string, unknown>>(
    id: string,
    options: CallOptions = {},
  ): Promise<Session<T> | null> {
    return orNull(
      this.#http.send('getSession', sessionOf(id, options), async (response) => {
        const session = await jsonOf<'getSession'>(response);
        return { data: session.data as T, ...timesOf(session) };
      }),
    );
  }

  /** Keeps a session in force for `ttl` from now, at most 24 hours from its creation. Rejects with `not_found` if it is not in force. */
  async extendSession(id: string, ttl: Duration, options: CallOptions = {}): Promise<SessionTimes> {
    return this.#http.send(
      'extendSession',
      { ...sessionOf(id, options), query: { ttl: checkTtl(ttl) } },
      async (response) => timesOf(await jsonOf<'extendSession'>(response)),
    );
  }

  /** Ends a session. There being none is no error. */
  async endSession(id: string, options: CallOptions = {}): Promise<void> {
    return this.#http.send('endSession', sessionOf(id, options), () => undefined);
  }

  /**
   * The events of the token's tenant in the audit log, newest first; for an operator's token, all of them. Each request asks for `pageSize`
   * events, 1 to 1,000. Needs `audit:read`.
   */
  async *events(
    options: CallOptions & EventFilter & { pageSize?: number } = {},
  ): AsyncGenerator<Event, void, undefined> {
    const query = eventQuery(options);
    for (let cursor: string | undefined; ; ) {
      const page: Json<'listEvents'> = await this.#http.send(
        'listEvents',
        { ...signalOf(options), query: { ...query, cursor } },
        jsonOf<'listEvents'>,
      );
      yield* page.events;
      if ((cursor = page.cursor) === undefined) return;
    }
  }

  /** The last lines of the audit log that are on disk, to be kept elsewhere. Needs `audit:read`. */
  async eventHead(options: CallOptions = {}): Promise<EventHead> {
    return this.#http.send('getEventHead', callOf(options), jsonOf<'getEventHead'>);
  }

  /** The server's metrics in Prometheus' text format. */
  async metrics(options: CallOptions = {}): Promise<string> {
    return this.#text('getMetrics', options);
  }

  /** Resolves if the server's process answers. */
  async live(options: CallOptions = {}): Promise<void> {
    return this.#http.send('getLive', callOf(options), () => undefined);
  }

  /** Resolves if the server can serve requests now, with what it does without meanwhile. Never retried: not being ready is an answer. */
  async ready(options: CallOptions = {}): Promise<Health> {
    return this.#http.send(
      'getReady',
      { ...callOf(options), repeatable: false },
      jsonOf<'getReady'>,
    );
  }

  /** The OpenAPI document that the server was built with, in YAML. */
  async document(options: CallOptions = {}): Promise<string> {
    return this.#text('getDocument', options);
  }

  /** That document as an HTML page. */
  async docs(options: CallOptions = {}): Promise<string> {
    return this.#text('getDocs', options);
  }

  /** Reads an entry, and once more if its context is too long for a header. */
  async #get<O extends GetOptions, T>(
    key: string,
    accept: string,
    options: O | undefined,
    read: (response: Response) => T | Promise<T>,
    streams = false,
  ): Promise<T | Unchanged<O> | null> {
    const long = Symbol('long');
    const got = await this.#read<O, T | symbol>(
      key,
      accept,
      options,
      async (response) =>
        isLong(response) ? (await response.body?.cancel(), long) : read(response),
      {},
      streams,
    );
    if (got !== long) return got as T | Unchanged<O> | null;
    return this.#read(
      key,
      accept,
      options,
      async (response) => read(await withContext(response)),
      { context: 'body' },
      streams,
    );
  }

  #read<O extends GetOptions, T>(
    key: string,
    accept: string,
    options: O | undefined,
    read: (response: Response) => T | Promise<T>,
    query: Record<string, string>,
    streams = false,
  ): Promise<T | Unchanged<O> | null> {
    const { headers, query: asked, ...sent } = readOf(key, options);
    const all = {
      ...sent,
      streams,
      query: { ...asked, ...query },
      headers: { ...headers, Accept: accept },
    };
    return orNull(
      this.#http.send('getEntry', all, (response) => unchanged<O, T>(response) ?? read(response)),
    );
  }

  #post<K extends keyof operations>(
    operation: K & Parameters<Http['send']>[0],
    body: unknown,
    options: CallOptions,
    more: Sent = {},
  ): Promise<Json<K>> {
    const headers = { 'Content-Type': 'application/json' };
    return this.#http.send(
      operation,
      { ...more, ...callOf(options), headers, body: stringify(body) },
      jsonOf<K>,
    );
  }

  #confirm<K extends 'disableKey' | 'destroyKey' | 'shredTenant'>(
    operation: K,
    about: Record<string, string>,
    options: ConfirmOptions,
  ): Promise<Json<K>> {
    const { confirmation, reason } = checkOptions(options, 'confirmation', 'reason', 'signal');
    const body = {
      ...about,
      confirm: checkName('confirmation', confirmation),
      reason: checkName('reason', reason),
    };
    return this.#post(operation, body, signalOf(options));
  }

  #text(
    operation: 'getMetrics' | 'getDocument' | 'getDocs',
    options: CallOptions,
  ): Promise<string> {
    return this.#http.send(operation, callOf(options), (response) => response.text());
  }
}

/** `'unchanged'` for 304, which only a caller of `ifNoneMatch` is answered. */
const unchanged = <O, T>(response: Response): T | Unchanged<O> | undefined =>
  response.status === 304 ? ('unchanged' as Unchanged<O>) : undefined;

/** There being nothing is no failure of a read. */
async function orNull<T>(promise: Promise<T>): Promise<T | null> {
  return promise.catch((error: CofferError) => {
    if (error?.code === 'not_found' && error.status === 404) return null; // and not the reason of a signal
    throw error;
  });
}

const jsonOf = async <K extends keyof operations>(response: Response): Promise<Json<K>> =>
  parseJson(await response.text(), response.status) as Json<K>;

/** The results of a batch, one for each item. */
function resultsOf<T>({ results }: { results: T[] }, items: readonly unknown[]): T[] {
  if (results?.length !== items.length) throw notCoffer(200);
  return results;
}
