import { type Bytes, concat, equal, none } from '../core/bytes.js';
import { type DataClassification, classNumber } from '../core/classification.js';
import { type Core, saltSpent } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import {
  type Parts,
  PUBLIC,
  type Use,
  headExtra,
  headerEnd,
  headerLength,
  uses,
} from './header.js';
import * as at from './offsets.js';
import { isPlain } from '../core/plain.js';
import { NONCE, SALT, gcmOpen, gcmSeal, messageKey, random } from './primitives.js';
import { type Decoded, type Encoded, decodeValue, encodeValue, readBlob } from './values.js';

/** Strings that are authenticated with a value and readable without a key. */
export type Context = Readonly<Record<string, string>>;

/** The place of a package, which is authenticated but not stored in it. A package that was moved does not open. */
export interface Place {
  /** The id of the tenant or vault. */
  owner: string;
  /** The store, table or other group of records. */
  collection: string;
  /** The record's name. A package without a name differs from one whose name is empty. */
  name?: string;
}

/** A place whose owner and collection are encoded already. */
export interface EncodedPlace {
  prefix: Bytes;
  name: string | undefined;
}

/** Encodes a place's owner and collection, and whether a name follows. */
export function placePrefix(core: Core, owner: string, collection: string, named: boolean): Bytes {
  const input = core
    .begin()
    .text(owner)
    .text(collection)
    .bytes(new Uint8Array([+named])).length;
  return core.input(input);
}

/** The keys of one session. */
export interface Keys {
  /** Data keys by key id. */
  secrets: ReadonlyMap<string, CryptoKey>;
  /** Opens the session in the core, at first and after each restart of the core. Returns its handle. */
  open(core: Core): number;
  /** The only salt of a passphrase's key. `renew` makes the next sealer once the salt has sealed its limit of packages. */
  fixed?: { readonly salt: Bytes; renew(): Promise<Sealer> } | undefined;
}

/** A salt and its message key, under which packages of one use and class are sealed. */
interface Writer {
  salt: Bytes;
  key: CryptoKey;
}

/** A message key by key id and salt. */
interface CachedKey {
  id: Bytes;
  key: CryptoKey;
}

/** How many message keys are cached for opening. */
const CACHED_KEYS = 256;

/** Parameters of sealing a package. */
export interface SealOptions {
  use: Use;
  classification: DataClassification;
  place: EncodedPlace;
  context?: Context | undefined;
}

/** Conditions under which a package opens. */
export interface OpenOptions {
  use: Use;
  place: EncodedPlace;
  minClass?: DataClassification | undefined;
}

/** Seals and opens packages with the keys of one session. The core decides how; this class calls WebCrypto. */
export class Sealer {
  readonly core: Core;
  readonly #keys: Keys;
  #handle: number;
  #generation: number;
  readonly #writers = new Map<number, Writer>();
  readonly #making = new Map<number, Promise<Writer>>();
  readonly #messageKeys = new Map<string, CachedKey>();
  /** The message key used last. Most packages of a store share one, and comparing bytes is faster than building a map's key. */
  #last: CachedKey | undefined;

  constructor(core: Core, keys: Keys) {
    this.core = core;
    this.#keys = keys;
    this.#handle = keys.open(core);
    this.#generation = core.generation;
  }

  /** Closes the session in the core. */
  close(): void {
    if (this.#generation === this.core.generation) this.core.call.closeSession(this.#handle);
  }

  get #session(): number {
    void this.core.call; // restarts the core if it ended
    if (this.#generation !== this.core.generation) {
      this.#handle = this.#keys.open(this.core);
      this.#generation = this.core.generation;
    }
    return this.#handle;
  }

  /** Seals a value and context as they are in the tick of the call. Later changes by the caller have no effect. */
  async seal(value: unknown, { use, classification, place, context }: SealOptions): Promise<Parts> {
    const useNumber = uses.indexOf(use);
    const classNo = classNumber(classification);
    const slot = useNumber * 8 + classNo;
    let encoded = encodeValue(value);
    let writer = this.#writers.get(slot);
    if (!writer || encoded.blob) context = copyContext(context);
    if (encoded.blob) encoded = await readBlob(this.core, encoded);
    for (;;) {
      if (!writer) {
        encoded = encoded.own();
        writer = await this.#newWriter(slot, useNumber, classNo);
      }
      const n = this.#plan(writer, useNumber, classNo, encoded, place, context);
      if (n !== saltSpent) return this.#carryOut(writer, this.core.check(n), encoded.bytes);
      if (this.#keys.fixed) {
        [encoded, context] = [encoded.own(), copyContext(context)];
        const next = await this.#keys.fixed.renew();
        return next.seal(encoded, { use, classification, place, context });
      }
      if (this.#writers.get(slot) === writer) this.#writers.delete(slot);
      writer = undefined;
    }
  }

  /** Makes the core write the additional data of a new package. Returns its length, or saltSpent. */
  #plan(
    w: Writer,
    use: number,
    cls: number,
    e: Encoded,
    place: EncodedPlace,
    context?: Context,
  ): number {
    const { core } = this;
    const session = this.#session;
    const input = writePlace(core.begin().bytes(w.salt), place).map(context).length;
    return core.call.planSeal(
      session,
      use,
      cls,
      e.type,
      0,
      input,
      Date.now(),
      e.bytes.length - e.details,
    );
  }

  /** Calls WebCrypto with the additional data in the core's memory. WebCrypto copies it before it returns. */
  async #carryOut(writer: Writer, n: number, value: Bytes): Promise<Parts> {
    const data = this.core.view(n);
    const length = ((data[0] ?? 0) << 8) | (data[1] ?? 0);
    const algorithm = data[2 + at.algorithm] ?? 0;
    const head = this.core.view(2 + length + headExtra(algorithm)).slice(2); // the bytes after the header are overwritten below
    const iv = crypto.getRandomValues(head.subarray(length, length + NONCE));
    if (algorithm !== PUBLIC) return { head, body: await gcmSeal(writer.key, iv, data, value) };
    const body = new Uint8Array(value);
    head.set(
      new Uint8Array(await gcmSeal(writer.key, iv, concat(data, body), none)),
      length + NONCE,
    );
    return { head, body };
  }

  /** Draws a salt and derives its message key. Concurrent callers share them. */
  #newWriter(slot: number, use: number, cls: number): Promise<Writer> {
    const current = this.#writers.get(slot);
    if (current) return Promise.resolve(current);
    let making = this.#making.get(slot);
    if (!making) {
      making = this.#makeWriter(use, cls).then((w) => (this.#writers.set(slot, w), w));
      this.#making.set(slot, making);
      void making.catch(() => undefined).then(() => this.#making.delete(slot));
    }
    return making;
  }

  async #makeWriter(use: number, cls: number): Promise<Writer> {
    const id = this.core.output(this.core.call.primary(this.#session, use, cls));
    const salt = this.#keys.fixed?.salt ?? random(SALT);
    return { salt, key: await messageKey(this.#secret(latin1(id)), salt) };
  }

  #secret(id: string): CryptoKey {
    const secret = this.#keys.secrets.get(id);
    if (!secret) throw errorOf('unknown_key');
    return secret;
  }

  /** Opens a package. The caller must not change its head before the promise settles. Nothing is returned unless the whole package is authentic, in its place, and of the demanded class. */
  async open({ head, body }: Parts, { use, place, minClass }: OpenOptions): Promise<Decoded> {
    const { core } = this;
    const session = this.#session;
    const length = headerEnd(head);
    if (head.length < length) throw incomplete(core, head);
    const input = writePlace(core.begin().bytes(head.subarray(0, length)), place).length;
    const n = core.check(
      core.call.planOpen(
        session,
        uses.indexOf(use),
        minClass ? classNumber(minClass) : 0,
        input,
        head.length - length + body.byteLength,
      ),
    );
    const algorithm = head[at.algorithm] ?? 0;
    if (head.length !== length + headExtra(algorithm)) throw errorOf('malformed');
    let kept = this.#find(head);
    const data = kept ? core.view(n) : core.output(n); // a view is invalid after an await
    if (!kept) {
      if (body instanceof Uint8Array) body = new Uint8Array(body); // a copy: the bytes may be the caller's
      kept = await this.#derive(head.slice(at.keyId, at.salt + SALT));
    }
    const plaintext = await openBody(kept.key, algorithm, head, length, body, data);
    this.#keep(kept);
    return decodeValue(core, head[at.type] ?? 0, head[at.flags] ?? 0, new Uint8Array(plaintext));
  }

  #find(head: Bytes): CachedKey | undefined {
    const id = head.subarray(at.keyId, at.salt + SALT);
    return this.#last && equal(id, this.#last.id) ? this.#last : this.#messageKeys.get(latin1(id));
  }

  async #derive(id: Bytes): Promise<CachedKey> {
    return { id, key: await messageKey(this.#secret(latin1(id.subarray(0, 32))), id.slice(32)) };
  }

  /** Caches a message key after a package authenticated under it, and evicts the least recently used one. */
  #keep(kept: CachedKey): void {
    if (kept === this.#last) return;
    this.#last = kept;
    keepLatest(this.#messageKeys, latin1(kept.id), kept, CACHED_KEYS);
  }
}

/** Makes an entry the most recent of a map. If the map then exceeds the limit, removes and returns the least recent value. */
export function keepLatest<T>(
  map: Map<string, T>,
  id: string,
  value: T,
  limit: number,
): T | undefined {
  map.delete(id);
  map.set(id, value);
  const [oldest] = map;
  if (map.size <= limit || !oldest) return undefined;
  map.delete(oldest[0]);
  return oldest[1];
}

function writePlace(core: Core, { prefix, name }: EncodedPlace): Core {
  core.bytes(prefix);
  return name === undefined ? core : core.text(name);
}

/** Opens the body of a package whose header has n bytes. */
function openBody(
  key: CryptoKey,
  algorithm: number,
  head: Bytes,
  n: number,
  body: ArrayBuffer | Bytes,
  data: Bytes,
): Promise<ArrayBuffer> {
  const iv = head.subarray(n, n + NONCE);
  if (algorithm === 1) return gcmOpen(key, iv, data, body);
  if (algorithm !== PUBLIC) throw errorOf('unsupported_version', 'a chunked package');
  const value = new Uint8Array(body); // a copy, unless it is a buffer of its own
  return gcmOpen(key, iv, concat(data, value), head.subarray(n + NONCE)).then(() => value.buffer);
}

/** Copies a context. A value that is not a plain object is returned as it is, for the core to refuse. */
export function copyContext(context: Context | undefined): Context | undefined {
  return isPlain(context) ? { ...context } : context;
}

/** Returns the error of a head that is shorter than its header. */
function incomplete(core: Core, head: Bytes): Error {
  headerLength(core, head, head.length); // throws malformed or unsupported_version
  return errorOf('malformed');
}

/** Converts bytes to a string with one character for each byte, for use as a map key. */
export function latin1(b: Uint8Array): string {
  return String.fromCharCode(...b);
}
