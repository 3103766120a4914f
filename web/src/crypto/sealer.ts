import { concat, equal, none } from '../core/bytes.js';
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

type Bytes = Uint8Array<ArrayBuffer>;

/** Where a package lives: authenticated, not stored in it. A package that was moved does not open. */
export interface Place {
  /** Tenant or vault id. */
  owner: string;
  /** Store, table or other group of records. */
  collection: string;
  /** The record's name; left out, the package has none, which is not the empty name. */
  name?: string;
}

/** A place, all but its name encoded beforehand. */
export interface EncodedPlace {
  prefix: Bytes;
  name: string | undefined;
}

/** Encodes a place's owner, collection, and whether a name follows. */
export function placePrefix(core: Core, owner: string, collection: string, named: boolean): Bytes {
  const input = core
    .begin()
    .text(owner)
    .text(collection)
    .bytes(new Uint8Array([+named])).length;
  return core.input(input);
}

/** The keys of one session: the secrets by key id, and how to make the core know them (again). */
export interface Keys {
  secrets: ReadonlyMap<string, CryptoKey>;
  open(core: Core): number;
  /** Only of a passphrase: its key belongs to one salt. When that is spent, another sealer takes over. */
  fixed?: { readonly salt: Bytes; renew(): Promise<Sealer> } | undefined;
}

interface Writer {
  salt: Bytes;
  key: CryptoKey;
}

/** A message key and what names it: key id and salt. */
interface Kept {
  id: Bytes;
  key: CryptoKey;
}

/** How many message keys a reader keeps. */
const KEPT = 256;

/** Seals and opens packages with the keys of one session: carries out what the core plans. */
export class Sealer {
  readonly core: Core;
  readonly #keys: Keys;
  #handle: number;
  #generation: number;
  readonly #writers = new Map<number, Writer>();
  readonly #making = new Map<number, Promise<Writer>>();
  readonly #messageKeys = new Map<string, Kept>();
  /** The message key used last. Most packages of a store are one writer's, and comparing bytes is quicker than making a map's key. */
  #last: Kept | undefined;

  constructor(core: Core, keys: Keys) {
    this.core = core;
    this.#keys = keys;
    this.#handle = keys.open(core);
    this.#generation = core.generation;
  }

  /** Forgets the session in the core. */
  close(): void {
    if (this.#generation === this.core.generation) this.core.call.closeSession(this.#handle);
  }

  get #session(): number {
    void this.core.call; // starts a dead module again
    if (this.#generation !== this.core.generation) {
      this.#handle = this.#keys.open(this.core);
      this.#generation = this.core.generation;
    }
    return this.#handle;
  }

  /** Seals a value and context as they are in the tick of the call: what the caller does to them later changes nothing. */
  async seal(
    value: unknown,
    use: Use,
    cls: DataClassification,
    place: EncodedPlace,
    context?: Readonly<Record<string, string>>,
  ): Promise<Parts> {
    const useNumber = uses.indexOf(use);
    const classNo = classNumber(cls);
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
        return (await this.#keys.fixed.renew()).seal(encoded, use, cls, place, context);
      }
      if (this.#writers.get(slot) === writer) this.#writers.delete(slot);
      writer = undefined;
    }
  }

  /** Has the core write the additional data of a package to be sealed; returns its length, or saltSpent. */
  #plan(
    w: Writer,
    use: number,
    cls: number,
    e: Encoded,
    place: EncodedPlace,
    context?: Readonly<Record<string, string>>,
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

  /** Seals at once, with the additional data where the core left it: WebCrypto copies it before it returns. */
  async #carryOut(writer: Writer, n: number, value: Bytes): Promise<Parts> {
    const data = this.core.view(n);
    const length = ((data[0] ?? 0) << 8) | (data[1] ?? 0);
    const algorithm = data[2 + at.algorithm] ?? 0;
    const head = this.core.view(2 + length + headExtra(algorithm)).slice(2); // what follows the header is overwritten below
    const iv = crypto.getRandomValues(head.subarray(length, length + NONCE));
    if (algorithm !== PUBLIC) return { head, body: await gcmSeal(writer.key, iv, data, value) };
    const body = new Uint8Array(value);
    head.set(
      new Uint8Array(await gcmSeal(writer.key, iv, concat(data, body), none)),
      length + NONCE,
    );
    return { head, body };
  }

  /** Draws a salt and derives its message key; callers of the same moment share it. */
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

  /** Opens a package. Its head must not change meanwhile; its body may. Nothing of it is returned unless all of it is authentic, in its place, and of the class demanded. */
  async open(
    { head, body }: Parts,
    use: Use,
    place: EncodedPlace,
    least?: DataClassification,
  ): Promise<Decoded> {
    const { core } = this;
    const session = this.#session;
    const length = headerEnd(head);
    if (head.length < length) throw incomplete(core, head);
    const input = writePlace(core.begin().bytes(head.subarray(0, length)), place).length;
    const n = core.check(
      core.call.planOpen(
        session,
        uses.indexOf(use),
        least ? classNumber(least) : 0,
        input,
        head.length - length + body.byteLength,
      ),
    );
    const algorithm = head[at.algorithm] ?? 0;
    if (head.length !== length + headExtra(algorithm)) throw errorOf('malformed');
    let kept = this.#find(head);
    const data = kept ? core.view(n) : core.output(n); // a view does not outlive an await
    if (!kept) {
      if (body instanceof Uint8Array) body = new Uint8Array(body); // may be the caller's
      kept = await this.#derive(head.slice(at.keyId, at.salt + SALT));
    }
    const plaintext = await openBody(kept.key, algorithm, head, length, body, data);
    this.#keep(kept);
    return decodeValue(core, head[at.type] ?? 0, head[at.flags] ?? 0, new Uint8Array(plaintext));
  }

  #find(head: Bytes): Kept | undefined {
    const id = head.subarray(at.keyId, at.salt + SALT);
    return this.#last && equal(id, this.#last.id) ? this.#last : this.#messageKeys.get(latin1(id));
  }

  async #derive(id: Bytes): Promise<Kept> {
    return { id, key: await messageKey(this.#secret(latin1(id.subarray(0, 32))), id.slice(32)) };
  }

  /** Keeps a message key, only after a package authenticated under it; the least recently used gives way. */
  #keep(kept: Kept): void {
    if (kept === this.#last) return;
    this.#last = kept;
    keepLatest(this.#messageKeys, latin1(kept.id), kept, KEPT);
  }
}

/** Puts an entry behind all others of a map. If they are more than the limit, removes and returns the one used least recently. */
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

/** Opens what follows a head's header of n bytes. */
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

/** A context that is the caller's no more; what is no plain object goes through, to be refused. */
export function copyContext(
  context: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> | undefined {
  return isPlain(context) ? { ...context } : context;
}

/** The error of a head that ends before its header does. */
function incomplete(core: Core, head: Bytes): Error {
  headerLength(core, head, head.length); // throws it, or that of the version
  return errorOf('malformed');
}

/** Bytes as a string of as many characters, to serve as a map's key. */
export function latin1(b: Uint8Array): string {
  return String.fromCharCode(...b);
}
