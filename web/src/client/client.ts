import type { CofferError, EncryptedPackage } from '../index.js';
import {
  type Entry,
  type EntryHead,
  type EntryStream,
  type Opened,
  type SessionTimes,
  type Stored,
  parseEntry,
  parseInfo,
  parseOpened,
  parsePackage,
  makeResultError,
  parseStored,
  parseTimes,
  readContentType,
} from './responses.js';
import {
  type Binary,
  type Duration,
  checkKey,
  checkList,
  checkOptionalClass,
  checkName,
  checkObject,
  checkOptions,
  checkPackage,
  checkPageSize,
  checkText,
  checkTtl,
} from './arguments.js';
import { orNull, pages, post, readJson, request, resultsOf } from './calls.js';
import { readEntry, readHead, runBatch } from './entries.js';
import { type CallOptions, Http } from './http.js';
import {
  buildCall,
  buildConfirmation,
  buildEventQuery,
  buildKeyName,
  buildMatch,
  buildRotation,
  buildSealing,
  buildSession,
  pickSignal,
  buildTtl,
  buildWrite,
} from './requests.js';
import type { ClientOptions } from './settings.js';
import type {
  BatchOperation,
  BatchResult,
  ConfirmOptions,
  Event,
  EventHead,
  EventOptions,
  GetOptions,
  Health,
  KeyName,
  KeyRetirement,
  Keyset,
  KeysetOptions,
  ListOptions,
  MatchOptions,
  NewSession,
  OpenOptions,
  RollbackOptions,
  RotateOptions,
  Rotation,
  Rotations,
  Sealing,
  Session,
  SessionOptions,
  SetOptions,
  Shredding,
  Unchanged,
} from './types.js';

/**
 * A client of one server with one token. It holds no connection, so it need not be closed.
 *
 * The constructor and the calls do not throw. Every call returns a promise that rejects with a {@link CofferError}, or
 * with the reason of the call's signal. An invalid argument or setting, including a misspelled option, is
 * `invalid_argument`, and nothing is sent. Errors of the server have its `code`, with `status`, `requestId` and
 * `retryAfter`. If no response came, the code is `unreachable` or `timeout`. After these two, and after
 * `store_unavailable`, a write may have taken effect.
 *
 * Requests that are safe to repeat are retried after 429, 502, 503, 504 and failed connections: after the time that
 * `Retry-After` states, or else after a growing, random sleep.
 *
 * @example Store a value and read it
 * ```ts
 * import { CofferClient } from '@coffer-storage/coffer/client';
 *
 * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
 * await client.set('patient:P12345', 'Ada', { class: 'phi', context: { ward: 'A' } });
 *
 * const entry = await client.get('patient:P12345');
 * console.log(new TextDecoder().decode(entry?.value)); // Ada
 * console.log(entry?.class, entry?.context); // phi { ward: 'A' }
 * ```
 *
 * @example Decide by the code of an error
 * ```ts
 * import type { CofferError } from '@coffer-storage/coffer';
 * import { CofferClient } from '@coffer-storage/coffer/client';
 *
 * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
 * await client.set('news', 'open to all', { class: 'public' });
 * try {
 *   await client.get('news', { minClass: 'phi' });
 * } catch (error) {
 *   console.log((error as CofferError).code); // class_too_low
 * }
 * ```
 */
export class CofferClient {
  readonly #http: Http;

  /**
   * Makes a client; nothing is sent.
   *
   * @param baseUrl The server's URL, such as `https://coffer.example`, or `''` for the origin of the page.
   */
  constructor(baseUrl: string | URL, options: ClientOptions = {}) {
    this.#http = new Http(baseUrl, options);
  }

  /**
   * Seals a value and stores it, replacing an earlier one. A text is stored as UTF-8. A typed array, DataView or
   * buffer is copied at once. A Blob or File is read while it is sent. Use `JSON.stringify` for other values.
   *
   * @throws `invalid_argument` for another type of value or an unreadable file; `too_large`, `ttl_out_of_range`,
   *   `precondition_failed`, `quota_exceeded`.
   *
   * @example Create an entry only if it does not exist
   * ```ts
   * import type { CofferError } from '@coffer-storage/coffer';
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
   * const options = { class: 'internal', ttl: '10m', ifNoneMatch: '*' } as const;
   * const { ttl } = await client.set('lock', 'mine', options);
   * console.log(ttl); // 600
   *
   * const second = client.set('lock', 'yours', options);
   * console.log(await second.catch((error: CofferError) => error.code)); // precondition_failed
   * ```
   */
  async set(key: string, value: string | Blob | Binary, options: SetOptions): Promise<Stored> {
    return this.#http.send('putEntry', buildWrite(key, value, options), parseStored);
  }

  /**
   * Reads a value, which the server opens. Resolves to `null` if there is no entry.
   *
   * @throws `authentication_failed`, `class_too_low`, `precondition_failed`, `unknown_key` or `key_destroyed`.
   *
   * @example Read only if the entry changed
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
   * const { etag } = await client.set('greeting', 'hello', { class: 'internal' });
   *
   * console.log(await client.get('greeting', { ifNoneMatch: etag })); // unchanged
   * console.log(await client.get('no such entry')); // null
   * ```
   */
  async get<O extends GetOptions>(key: string, options?: O): Promise<Entry | Unchanged<O> | null> {
    return readEntry(this.#http, { key, options, read: parseEntry });
  }

  /**
   * Reads a value as a stream, without holding it in memory. Resolves to `null` if there is no entry. The request is
   * not retried once the stream began: the stream then fails with `unreachable` or the reason of the signal.
   *
   * @throws As {@link CofferClient.get} does.
   *
   * @example Show an image without holding it twice
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
   * await client.set('scan', new Blob(['…'], { type: 'image/png' }), { class: 'phi' });
   *
   * const stream = await client.getStream('scan');
   * const image = await new Response(stream!.body).blob();
   * console.log(stream!.contentType, image.size); // image/png 3
   * ```
   */
  async getStream<O extends GetOptions>(
    key: string,
    options?: O,
  ): Promise<EntryStream | Unchanged<O> | null> {
    const read = (response: Response): EntryStream => ({
      ...parseInfo(response),
      contentType: readContentType(response),
      body: response.body ?? (new Blob().stream() as ReadableStream<Uint8Array<ArrayBuffer>>),
    });
    return readEntry(this.#http, { key, options, read, streams: true });
  }

  /**
   * Reads an entry's package, sealed, in the binary form of SPEC.md section 3. The server opens the package first and
   * refuses one that does not open.
   *
   * @throws As {@link CofferClient.get} does.
   */
  async getPackage<O extends GetOptions>(
    key: string,
    options?: O,
  ): Promise<Entry | Unchanged<O> | null> {
    return readEntry(this.#http, { key, options, sealed: true, read: parseEntry });
  }

  /**
   * Reads the header of an entry's package and its time to live. Resolves to `null` if there is no entry.
   *
   * @throws As {@link CofferClient.get} does.
   *
   * @example Ask how long an entry is kept
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
   * await client.set('code', '123456', { class: 'confidential', ttl: 90 });
   *
   * const head = await client.head('code');
   * console.log(head?.class, head!.ttl! <= 90); // confidential true
   * ```
   */
  async head<O extends GetOptions>(
    key: string,
    options?: O,
  ): Promise<EntryHead | Unchanged<O> | null> {
    return readHead(this.#http, key, options);
  }

  /**
   * Sets the time to live of an entry, counted from now.
   *
   * @throws `not_found` if there is no entry; `ttl_out_of_range`, `precondition_failed`.
   */
  async expire(key: string, ttl: Duration, options: MatchOptions = {}): Promise<Stored> {
    const query = { ttl: checkTtl(ttl) };
    return this.#http.send('patchEntry', { ...buildMatch(key, options), query }, parseStored);
  }

  /**
   * Deletes an entry. Resolves to whether there was one.
   *
   * @throws `precondition_failed`.
   */
  async delete(key: string, options: MatchOptions = {}): Promise<boolean> {
    const deleting = this.#http.send('deleteEntry', buildMatch(key, options), () => true);
    return (await orNull(deleting)) ?? false;
  }

  /**
   * Lists keys, in no particular order. A key may occur twice.
   *
   * @example List the keys of one kind
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
   * await client.set('visit:1', 'Monday', { class: 'phi' });
   *
   * for await (const key of client.list({ prefix: 'visit:' })) console.log(key); // visit:1
   * ```
   */
  async *list(options: ListOptions = {}): AsyncGenerator<string, void, undefined> {
    const { prefix, pageSize } = checkOptions(options, 'prefix', 'pageSize', 'signal');
    const query = {
      prefix: prefix === undefined ? undefined : checkText('prefix', prefix),
      limit: checkPageSize(pageSize),
    };
    const sent = { ...pickSignal(options), query };
    for await (const page of pages(this.#http, 'listEntries', sent)) yield* page.keys;
  }

  /**
   * Runs up to 1,000 operations in order. Each succeeds or fails alone, so check every result.
   *
   * A batch is retried only if all operations are `get` or all are `set`, because others could have different
   * results the second time.
   *
   * @throws `invalid_argument` if one of the operations is invalid; no operation is run.
   *
   * @example Write and read in one request
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
   * const results = await client.batch([
   *   { op: 'set', key: 'a', value: 'Ada', class: 'pii' },
   *   { op: 'get', key: 'a' },
   *   { op: 'get', key: 'not there' },
   * ]);
   *
   * for (const { status, error } of results) console.log(status, error?.code ?? 'ok');
   * // 204 ok
   * // 200 ok
   * // 404 not_found
   * ```
   */
  async batch(
    operations: readonly BatchOperation[],
    options: CallOptions = {},
  ): Promise<BatchResult[]> {
    return runBatch(this.#http, operations, options);
  }

  /**
   * Seals a value into a package without storing it. Text is opened as text, and anything else as bytes.
   *
   * @throws `invalid_argument` for a value that is neither text nor bytes, such as an object or a Blob; `too_large`.
   *
   * @example Seal a value for another database
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
   * const sealed = await client.encrypt({ value: 'Ada', class: 'pii', context: { row: '17' } });
   *
   * const opened = await client.decrypt(sealed, { minClass: 'pii' });
   * console.log(opened.value, opened.context); // Ada { row: '17' }
   * ```
   */
  async encrypt(sealing: Sealing, options: CallOptions = {}): Promise<EncryptedPackage> {
    return parsePackage(await post(this.#http, 'encrypt', buildSealing(sealing), options));
  }

  /** Seals up to 1,000 values as {@link CofferClient.encrypt} does. Each result is a package or an error. */
  async encryptBatch(
    items: readonly Sealing[],
    options: CallOptions = {},
  ): Promise<(EncryptedPackage | CofferError)[]> {
    const body = { items: checkList<Sealing>('items', items).map(buildSealing) };
    const answer = await post(this.#http, 'encryptBatch', body, options);
    return resultsOf(answer, items).map(({ package: sealed, code, status, detail }) =>
      sealed ? parsePackage(sealed) : makeResultError(code, status, detail),
    );
  }

  /**
   * Opens a package of {@link CofferClient.encrypt}. Compare its context with the one that you expect.
   *
   * @throws `malformed`, `authentication_failed`, `class_too_low`, `unknown_key` or `key_destroyed`.
   */
  async decrypt(sealed: EncryptedPackage, options: OpenOptions = {}): Promise<Opened> {
    const { minClass, ...call } = checkOptions(options, 'minClass', 'signal');
    const query = { min_class: checkOptionalClass(minClass) };
    return parseOpened(await post(this.#http, 'decrypt', checkPackage(sealed), call, { query }));
  }

  /** Opens up to 1,000 packages as {@link CofferClient.decrypt} does. Each result is a value or an error. */
  async decryptBatch(
    items: readonly EncryptedPackage[],
    options: OpenOptions = {},
  ): Promise<(Opened | CofferError)[]> {
    const { minClass, ...call } = checkOptions(options, 'minClass', 'signal');
    const query = { min_class: checkOptionalClass(minClass) };
    const packages = checkList<EncryptedPackage>('items', items).map(checkPackage);
    const answer = await post(this.#http, 'decryptBatch', { items: packages }, call, { query });
    return resultsOf(answer, packages).map(({ opened, code, status, detail }) =>
      opened ? parseOpened(opened) : makeResultError(code, status, detail),
    );
  }

  /**
   * Creates an encrypted session. The call is never retried, because that could create a second session.
   *
   * @param data A JSON object.
   *
   * @throws `invalid_argument` if the data are not a JSON object throughout; `too_large`, `ttl_out_of_range`.
   *
   * @example Create, read and end a session
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const client = new CofferClient('https://coffer.example', { token: 'coffer_…' });
   * const { id } = await client.createSession({ user: 'ada' }, { ttl: '15m' });
   *
   * const session = await client.getSession<{ user: string }>(id);
   * console.log(session?.data.user); // ada
   *
   * await client.endSession(id);
   * console.log(await client.getSession(id)); // null
   * ```
   */
  async createSession(
    data: Record<string, unknown>,
    options: SessionOptions = {},
  ): Promise<NewSession> {
    const { ttl, ...call } = checkOptions(options, 'ttl', 'signal');
    const body = { data: checkObject('data', data), ...buildTtl(ttl) };
    const made = await post(this.#http, 'createSession', body, call);
    return { id: made.id, ...parseTimes(made) };
  }

  /** Verifies a session and reads its data. Resolves to `null` if the session is unknown, ended or expired. */
  async getSession<T = Record<string, unknown>>(
    id: string,
    options: CallOptions = {},
  ): Promise<Session<T> | null> {
    const session = await orNull(request(this.#http, 'getSession', buildSession(id, options)));
    return session && { data: session.data as T, ...parseTimes(session) };
  }

  /**
   * Sets the time to live of a session, counted from now. A session ends at most 24 hours after its creation.
   *
   * @throws `not_found` if the session is unknown, ended or expired; `ttl_out_of_range`.
   */
  async extendSession(id: string, ttl: Duration, options: CallOptions = {}): Promise<SessionTimes> {
    const sent = { ...buildSession(id, options), query: { ttl: checkTtl(ttl) } };
    return parseTimes(await request(this.#http, 'extendSession', sent));
  }

  /** Ends a session. It resolves even if the session is unknown. */
  async endSession(id: string, options: CallOptions = {}): Promise<void> {
    return this.#http.send('endSession', buildSession(id, options), () => undefined);
  }

  /**
   * Lists the keysets of a tenant, or of every tenant that the token administers. Requires the scope `keys:admin`.
   *
   * @example List the primary keys of a tenant
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const operator = new CofferClient('https://coffer.example', { token: 'coffer_operator_…' });
   * for await (const { use, keys } of operator.keysets({ tenant: 'default' }))
   *   if (keys.length === 0) console.log(`${use} has no key`);
   * ```
   */
  async *keysets(options: KeysetOptions = {}): AsyncGenerator<Keyset, void, undefined> {
    const { tenant, pageSize } = checkOptions(options, 'tenant', 'pageSize', 'signal');
    const query = { tenant: checkName('tenant', tenant), limit: checkPageSize(pageSize) };
    const sent = { ...pickSignal(options), query };
    for await (const page of pages(this.#http, 'listKeysets', sent)) yield* page.keysets;
  }

  /**
   * Makes new primary keys for a tenant. Its servers then re-encrypt the cache under them. The call is never
   * retried, because that could rotate again. Requires the scope `keys:admin`.
   *
   * @throws `invalid_argument` for another option; `not_found` for a tenant without keys.
   *
   * @example Rotate a tenant's keys
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const operator = new CofferClient('https://coffer.example', { token: 'coffer_operator_…' });
   * const rotation = await operator.rotate({ tenant: 'default', reason: 'policy' });
   * console.log(rotation.tenant); // default
   * ```
   */
  async rotate(options: RotateOptions = {}): Promise<Rotation> {
    return post(this.#http, 'rotateKeys', buildRotation(options), pickSignal(options));
  }

  /** Makes the former keys of a tenant's last rotation primary again. Requires the scope `keys:admin`. */
  async rollback(options: RollbackOptions = {}): Promise<Rotation> {
    const { tenant, reason } = checkOptions(options, 'tenant', 'reason', 'signal');
    const body = { tenant: checkName('tenant', tenant), reason: checkName('reason', reason) };
    return post(this.#http, 'rollbackKeys', body, pickSignal(options));
  }

  /**
   * Reads the last rotation of a tenant, or of every tenant that the token administers, and the state of the sweep.
   * Requires the scope `keys:admin`.
   */
  async rotations(options: CallOptions & { tenant?: string } = {}): Promise<Rotations> {
    const { tenant } = checkOptions(options, 'tenant', 'signal');
    const query = { tenant: checkName('tenant', tenant) };
    return request(this.#http, 'listRotations', { ...pickSignal(options), query });
  }

  /**
   * Disables a former key of packages, files or fields for good: it opens nothing any more. Takes two calls, see
   * {@link ConfirmOptions}. Requires the scope `keys:admin` and an operator's token.
   *
   * @throws `key_unusable` for a key that is still needed; `precondition_failed` for a confirmation that does not fit.
   */
  async disableKey(key: KeyName, options: ConfirmOptions = {}): Promise<KeyRetirement> {
    const body = { ...buildKeyName(key), ...buildConfirmation(options) };
    return post(this.#http, 'disableKey', body, pickSignal(options));
  }

  /**
   * Destroys a disabled or compromised key for good. Takes two calls, see {@link ConfirmOptions}. Requires the scope
   * `keys:admin` and an operator's token.
   *
   * @throws As {@link CofferClient.disableKey} does.
   */
  async destroyKey(key: KeyName, options: ConfirmOptions = {}): Promise<KeyRetirement> {
    const body = { ...buildKeyName(key), ...buildConfirmation(options) };
    return post(this.#http, 'destroyKey', body, pickSignal(options));
  }

  /**
   * Destroys a tenant's keys for good, and with them its data. Takes two calls, see {@link ConfirmOptions}. Once the
   * result has `changed`, every server refuses the data. Requires the scope `keys:admin` and an operator's token.
   *
   * @throws As {@link CofferClient.disableKey} does.
   */
  async shredTenant(tenant: string, options: ConfirmOptions = {}): Promise<Shredding> {
    const body = { tenant: checkKey('tenant', tenant), ...buildConfirmation(options) };
    return post(this.#http, 'shredTenant', body, pickSignal(options));
  }

  /**
   * Lists events of the audit log, the newest first: those of the token's tenant, or all of them for an operator's
   * token. Requires the scope `audit:read`.
   *
   * @example Read the last event
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const operator = new CofferClient('https://coffer.example', { token: 'coffer_operator_…' });
   * for await (const event of operator.events({ pageSize: 1 })) {
   *   console.log(typeof event.action); // string
   *   break;
   * }
   * ```
   */
  async *events(options: EventOptions = {}): AsyncGenerator<Event, void, undefined> {
    const sent = { ...pickSignal(options), query: buildEventQuery(options) };
    for await (const page of pages(this.#http, 'listEvents', sent)) yield* page.events;
  }

  /** Reads the head of the audit log, to be kept elsewhere as evidence. Requires the scope `audit:read`. */
  async eventHead(options: CallOptions = {}): Promise<EventHead> {
    return request(this.#http, 'getEventHead', buildCall(options));
  }

  /** Reads the server's metrics in Prometheus' text format. */
  async metrics(options: CallOptions = {}): Promise<string> {
    return this.#text('getMetrics', options);
  }

  /** Resolves if the server's process responds. */
  async live(options: CallOptions = {}): Promise<void> {
    return this.#http.send('getLive', buildCall(options), () => undefined);
  }

  /**
   * Resolves if the server can serve requests now. The call is never retried, because "not ready" is a result.
   *
   * @throws The code of the component that fails, such as `store_unavailable`.
   *
   * @example Check a server before use
   * ```ts
   * import { CofferClient } from '@coffer-storage/coffer/client';
   *
   * const health = await new CofferClient('https://coffer.example').ready();
   * console.log(health.status); // ok
   * ```
   */
  async ready(options: CallOptions = {}): Promise<Health> {
    const sent = { ...buildCall(options), repeatable: false };
    return this.#http.send('getReady', sent, readJson<'getReady'>);
  }

  /** Reads the server's OpenAPI document in YAML. */
  async document(options: CallOptions = {}): Promise<string> {
    return this.#text('getDocument', options);
  }

  /** Reads the server's OpenAPI document as an HTML page. */
  async docs(options: CallOptions = {}): Promise<string> {
    return this.#text('getDocs', options);
  }

  #text(
    operation: 'getMetrics' | 'getDocument' | 'getDocs',
    options: CallOptions,
  ): Promise<string> {
    return this.#http.send(operation, buildCall(options), (response) => response.text());
  }
}
