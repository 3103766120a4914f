import type { DataClassification } from '../core/classification.js';
import { type Core, isBytes, loadCore } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import {
  KEYSET,
  MASTER_KEY,
  PASSPHRASE,
  type Parts,
  type Use,
  joinParts,
  splitParts,
} from './header.js';
import { type EncryptedPackage, packageFromJson, packageToJson } from './json.js';
import * as at from './offsets.js';
import { SALT, keyId, random } from './primitives.js';
import {
  type Keys,
  type Place,
  Sealer,
  copyContext,
  keepLatest,
  latin1,
  placePrefix,
} from './sealer.js';
import { type Secret, type Unlock, keysetOf, secretOf, unlockDocument } from '../unlock/unlock.js';
import { encodeValue } from './values.js';

/** Options of {@link EncryptionService}. */
export interface ServiceOptions {
  /** PBKDF2-HMAC-SHA256 iterations for what is written from a passphrase; at least 600,000, which is the default. */
  iterations?: number;
}

/** What a package is bound to, and what its reader demands. */
export interface PackageOptions {
  /** Where the package lives; a package moved elsewhere does not open. Default: nowhere, an empty owner and collection. */
  place?: Partial<Place>;
  /** What its key is for; default `'service'`. */
  use?: Use;
}

/** Options of {@link EncryptionService.decrypt}. */
export interface DecryptOptions extends PackageOptions {
  /** The lowest classification to accept: a package of a lower one is refused with `class_too_low`. */
  least?: DataClassification;
}

/** How many derived keys a reader of passphrase packages keeps: each costs a PBKDF2. */
const KEPT = 16;

/**
 * Seals values into packages and opens them, without storing anything.
 *
 * @example
 * const service = new EncryptionService(masterKey);
 * await service.initialize();
 * const sealed = await service.encrypt('sensitive', DataClassification.PHI, { patientId: 'P1' });
 * await service.decrypt(sealed); // 'sensitive'
 */
export class EncryptionService {
  readonly #unlock: Unlock;
  readonly #iterations: number | undefined;
  #core: Core | undefined;
  #secret: Secret | undefined;
  #ready: Promise<void> | undefined;
  /** What seals; there as soon as the service is initialized. */
  #sealer: Sealer | undefined;
  #renewing: Promise<Sealer> | undefined;
  /** Only of a passphrase: what opens packages of a salt. */
  readonly #derived = new Map<string, Sealer | Promise<Sealer>>();

  /** `source` is a master key (base64 of 32 random bytes) or passphrase, or a keyset with its secret. Throws `invalid_argument`. */
  constructor(source: string | Uint8Array | Unlock, options: ServiceOptions = {}) {
    this.#unlock = typeof source === 'string' || isBytes(source) ? { masterKey: source } : source;
    secretOf(this.#unlock);
    this.#iterations = options.iterations;
  }

  /** Loads the core and derives or unlocks the keys; `encrypt` and `decrypt` do so themselves. Rejects with `wrong_secret`. */
  initialize(): Promise<void> {
    this.#ready ??= this.#start().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  async #start(): Promise<void> {
    this.#core = await loadCore();
    const document = keysetOf(this.#unlock);
    this.#secret = secretOf(this.#unlock);
    if (document)
      this.#sealer = new Sealer(
        this.#core,
        await unlockDocument(this.#core, document, this.#secret),
      );
    else if (this.#secret.kind === 2)
      this.#sealer = await singleKey(
        this.#core,
        MASTER_KEY,
        0,
        await this.#secret.key(new Uint8Array(SALT), 0),
      );
    else await this.#renew(this.#core);
  }

  /** Draws the salt of a passphrase's packages; callers of the same moment share it. */
  #renew(core: Core): Promise<Sealer> {
    const draw = async () =>
      (this.#sealer = await this.#derive(
        core,
        random(SALT),
        core.check(core.call.iterations(this.#iterations ?? 0)),
      ));
    this.#renewing ??= draw().finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }

  /** The sealer of the passphrase's key under a salt: at once where it was derived before. */
  #derive(core: Core, salt: Uint8Array<ArrayBuffer>, iterations: number): Sealer | Promise<Sealer> {
    const id = `${iterations}:${latin1(salt)}`;
    const sealer = this.#derived.get(id) ?? this.#stretch(core, id, salt, iterations);
    const dropped = keepLatest(this.#derived, id, sealer, KEPT);
    if (dropped) void Promise.resolve(dropped).then((s) => s !== this.#sealer && s.close());
    return sealer;
  }

  #stretch(
    core: Core,
    id: string,
    salt: Uint8Array<ArrayBuffer>,
    iterations: number,
  ): Promise<Sealer> {
    const fixed = { salt, renew: () => this.#renew(core) };
    const deriving = (this.#secret as Secret)
      .key(salt, iterations)
      .then((key) => singleKey(core, PASSPHRASE, iterations, key, fixed));
    const done = (sealer?: Sealer) => {
      if (this.#derived.get(id) !== deriving) return;
      if (sealer) this.#derived.set(id, sealer);
      else this.#derived.delete(id);
    };
    deriving.then(done, () => done());
    return deriving;
  }

  /**
   * Seals a value of at most 64 MiB into a JSON package.
   * Rejects with `invalid_argument`, `too_large`, and as {@link EncryptionService.initialize} does.
   */
  async encrypt(
    value: unknown,
    classification: DataClassification,
    context?: Readonly<Record<string, string>>,
    options: PackageOptions = {},
  ): Promise<EncryptedPackage> {
    const parts = await this.#seal(value, classification, context, options);
    return packageToJson(this.#core as Core, parts);
  }

  /** Like {@link EncryptionService.encrypt}, but returns the binary package: a quarter smaller, and faster. */
  async encryptBinary(
    value: unknown,
    classification: DataClassification,
    context?: Readonly<Record<string, string>>,
    options: PackageOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    return joinParts(await this.#seal(value, classification, context, options));
  }

  /** Seals in the tick of the call. Where the keys are still to come, what the caller may change is copied. */
  async #seal(
    value: unknown,
    cls: DataClassification,
    context: Readonly<Record<string, string>> | undefined,
    options: PackageOptions,
  ): Promise<Parts> {
    let encoded = encodeValue(value);
    let { use = 'service', place } = options;
    if (!this.#sealer) {
      [encoded, context, place] = [encoded.own(), copyContext(context), { ...place }];
      await this.initialize();
    }
    return (this.#sealer as Sealer).seal(
      encoded,
      use,
      cls,
      encodePlace(this.#core as Core, place),
      context,
    );
  }

  /**
   * Opens a package, in either form, and returns the value in the type it was sealed with.
   * Rejects with `wrong_secret`, `unknown_key`, `key_destroyed`, `authentication_failed`, `class_too_low`, `malformed`, `unsupported_version`.
   */
  async decrypt<T = unknown>(
    sealed: EncryptedPackage | Uint8Array,
    options: DecryptOptions = {},
  ): Promise<T> {
    let { use = 'service', place, least } = options;
    if (!this.#sealer) {
      if (isBytes(sealed)) sealed = new Uint8Array(sealed);
      place = { ...place };
      await this.initialize();
    }
    const core = this.#core as Core;
    const parts = isBytes(sealed) ? splitParts(core, sealed) : packageFromJson(core, sealed);
    const where = encodePlace(core, place);
    let sealer = this.#sealerFor(core, parts.head);
    if (!(sealer instanceof Sealer)) {
      parts.body = new Uint8Array(parts.body); // a copy: it may be the caller's
      sealer = await sealer;
    }
    return (await sealer.open(parts, use, where, least)).value as T;
  }

  /** The sealer that opens packages with this header; of a passphrase, that of its salt. */
  #sealerFor(core: Core, head: Uint8Array<ArrayBuffer>): Sealer | Promise<Sealer> {
    const source = head[at.source];
    const own =
      'keyset' in this.#unlock ? KEYSET : this.#secret?.kind === 2 ? MASTER_KEY : PASSPHRASE;
    if (source !== own)
      throw errorOf(
        own === KEYSET ? 'unknown_key' : 'wrong_secret',
        'the package has another kind of key',
      );
    if (source !== PASSPHRASE) return this.#sealer as Sealer;
    core.check(core.call.derivation(core.begin().bytes(head).length));
    const iterations = new DataView(head.buffer, head.byteOffset).getUint32(at.iterations);
    return this.#derive(core, head.slice(at.salt, at.salt + SALT), iterations);
  }
}

function encodePlace(core: Core, place: Partial<Place> | undefined) {
  const { owner = '', collection = '', name } = place ?? {};
  return { prefix: placePrefix(core, owner, collection, name !== undefined), name };
}

/** A session of packages without a keyset: one key. */
async function singleKey(
  core: Core,
  source: number,
  iterations: number,
  key: CryptoKey,
  fixed?: Keys['fixed'],
): Promise<Sealer> {
  const id = await keyId(key);
  const open = (c: Core) => c.check(c.call.openSingle(source, (c.begin().bytes(id), iterations)));
  return new Sealer(core, { secrets: new Map([[latin1(id), key]]), open, fixed });
}
