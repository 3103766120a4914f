import type { Bytes } from '../core/bytes.js';
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
} from '../crypto/header.js';
import { type EncryptedPackage, packageFromJson, packageToJson } from '../crypto/json.js';
import * as at from '../crypto/offsets.js';
import { SALT, keyId, random } from '../crypto/primitives.js';
import {
  type Context,
  type EncodedPlace,
  type Keys,
  type Place,
  Sealer,
  copyContext,
  keepLatest,
  latin1,
  placePrefix,
} from '../crypto/sealer.js';
import { encodeValue } from '../crypto/values.js';
import { unlockDocument } from '../unlock/document.js';
import {
  PASSWORD_SLOT,
  type Secret,
  type Unlock,
  readKeyset,
  readSecret,
} from '../unlock/secret.js';

/** Options of the {@link EncryptionService} constructor. */
export interface ServiceOptions {
  /**
   * The PBKDF2-HMAC-SHA256 iterations for packages sealed with a passphrase, at least 600,000, which is the
   * default. Packages state their own iterations, so this does not affect {@link EncryptionService.decrypt}.
   */
  iterations?: number;
}

/** The place of a package and the use of its key. {@link EncryptionService.decrypt} must get the same values. */
export interface PackageOptions {
  /** The package's place, which is authenticated. A package moved to another place does not open. Default: an empty owner and collection. */
  place?: Partial<Place>;
  /** The use of the key. Default: `'service'`. */
  use?: Use;
}

/** Options of {@link EncryptionService.encrypt} and {@link EncryptionService.encryptBinary}. */
export interface EncryptOptions extends PackageOptions {
  /** How sensitive the value is. Required. */
  classification: DataClassification;
  /** Strings that are authenticated with the value and readable without a key; at most 16 KiB in all. */
  context?: Context;
}

/** Options of {@link EncryptionService.decrypt}. */
export interface DecryptOptions extends PackageOptions {
  /** The lowest class to accept. A package of a lower class is refused with `class_too_low`. */
  minClass?: DataClassification;
}

/** How many keys derived from a passphrase are kept. Each costs a PBKDF2 derivation. */
const KEPT_KEYS = 16;

/**
 * Seals values into packages and opens them, without storing anything.
 *
 * The keys are derived or unlocked once, by {@link EncryptionService.initialize} or by the first call that needs
 * them. A service holds no connection and need not be closed.
 *
 * @example Seal and open with a passphrase
 * ```ts
 * import { DataClassification, EncryptionService } from '@coffer-storage/coffer';
 *
 * const service = new EncryptionService('correct horse battery staple');
 * const sealed = await service.encrypt('sensitive', DataClassification.PHI, { patientId: 'P12345' });
 *
 * console.log(sealed.metadata.classification); // phi
 * console.log(await service.decrypt(sealed)); // sensitive
 * ```
 *
 * @example Seal and open with a master key
 * ```ts
 * import { EncryptionService } from '@coffer-storage/coffer';
 *
 * const masterKey = crypto.getRandomValues(new Uint8Array(32));
 * const service = new EncryptionService({ masterKey });
 * const sealed = await service.encryptBinary({ glucose: 5.4 }, { classification: 'phi' });
 *
 * console.log(await service.decrypt(sealed)); // { glucose: 5.4 }
 * ```
 */
export class EncryptionService {
  readonly #unlock: Unlock;
  readonly #iterations: number | undefined;
  #core: Core | undefined;
  readonly #secret: Secret;
  #ready: Promise<void> | undefined;
  /** The sealer of new packages. Set once the service is initialized. */
  #sealer: Sealer | undefined;
  #renewing: Promise<Sealer> | undefined;
  /** The sealers of a passphrase by iterations and salt, the most recently used last. */
  readonly #derived = new Map<string, Sealer | Promise<Sealer>>();

  /**
   * Makes a service; nothing is derived or loaded yet.
   *
   * A string is always a passphrase, even if it looks like base64. Pass `{ masterKey }` for a random key, or
   * `{ keyset, password }` or `{ keyset, masterKey }` for the keys of a keyset document.
   *
   * @throws {@link InputError} `invalid_argument` if the secret is empty or of the wrong type or size.
   * @throws {@link KeyError} `not_configured` if the object names no secret.
   */
  constructor(secret: string | Unlock, options: ServiceOptions = {}) {
    this.#unlock = typeof secret === 'string' ? { password: secret } : secret;
    this.#secret = readSecret(this.#unlock);
    this.#iterations = options.iterations;
  }

  /**
   * Loads the WebAssembly core and derives or unlocks the keys. Calling it is optional: `encrypt` and `decrypt`
   * call it. A failed call can be repeated.
   *
   * @throws {@link KeyError} `wrong_secret` if the secret does not open the keyset document.
   * @throws {@link InputError} `malformed` or `unsupported_version` for the keyset document, `kdf_out_of_range` for the iterations.
   * @throws {@link IntegrityError} `authentication_failed` if the keyset document was altered.
   * @throws {@link EnvironmentError} `wasm_unavailable` or `webcrypto_unavailable`.
   *
   * @example Derive the key before the first value arrives
   * ```ts
   * import { EncryptionService } from '@coffer-storage/coffer';
   *
   * const service = new EncryptionService('correct horse battery staple');
   * await service.initialize(); // a PBKDF2 derivation, about a quarter of a second
   * const sealed = await service.encrypt('now without a pause', 'confidential');
   * ```
   */
  initialize(): Promise<void> {
    this.#ready ??= this.#start().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  async #start(): Promise<void> {
    const core = (this.#core = await loadCore());
    const keyset = readKeyset(this.#unlock);
    const secret = this.#secret;
    if (keyset) this.#sealer = new Sealer(core, await unlockDocument(core, keyset, secret));
    else if (secret.kind === PASSWORD_SLOT) await this.#renew(core);
    else {
      const key = await secret.key(new Uint8Array(SALT), 0);
      this.#sealer = await openSingleKey(core, MASTER_KEY, 0, key);
    }
  }

  /** Draws a new salt for a passphrase's packages. Concurrent callers share it. */
  #renew(core: Core): Promise<Sealer> {
    const draw = async () => {
      const iterations = core.check(core.call.writeIterations(this.#iterations ?? 0));
      return (this.#sealer = await this.#derive(core, random(SALT), iterations));
    };
    this.#renewing ??= draw().finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }

  /** Returns the sealer of the passphrase's key under a salt, without a promise if the key was derived before. */
  #derive(core: Core, salt: Bytes, iterations: number): Sealer | Promise<Sealer> {
    const id = `${iterations}:${latin1(salt)}`;
    const sealer = this.#derived.get(id) ?? this.#stretch(core, id, salt, iterations);
    const dropped = keepLatest(this.#derived, id, sealer, KEPT_KEYS);
    if (dropped) void Promise.resolve(dropped).then((s) => s !== this.#sealer && s.close());
    return sealer;
  }

  #stretch(core: Core, id: string, salt: Bytes, iterations: number): Promise<Sealer> {
    const fixed = { salt, renew: () => this.#renew(core) };
    const deriving = this.#secret
      .key(salt, iterations)
      .then((key) => openSingleKey(core, PASSPHRASE, iterations, key, fixed));
    const replace = (sealer?: Sealer) => {
      if (this.#derived.get(id) !== deriving) return;
      if (sealer) this.#derived.set(id, sealer);
      else this.#derived.delete(id);
    };
    deriving.then(replace, () => replace());
    return deriving;
  }

  /**
   * Seals a value of at most 64 MiB into a JSON package.
   *
   * @throws {@link InputError} `invalid_argument` or `too_large`; and as {@link EncryptionService.initialize} does.
   *
   * @example Seal with a context
   * ```ts
   * import { EncryptionService } from '@coffer-storage/coffer';
   *
   * const service = new EncryptionService('correct horse battery staple');
   * const sealed = await service.encrypt({ name: 'Ada' }, 'pii', { source: 'intake form' });
   *
   * console.log(sealed.metadata.context); // { source: 'intake form' }
   * ```
   */
  encrypt(
    value: unknown,
    classification: DataClassification,
    context?: Context,
  ): Promise<EncryptedPackage>;
  /**
   * Seals a value for a place or a use.
   *
   * @example Bind a package to its row
   * ```ts
   * import { type CofferError, EncryptionService } from '@coffer-storage/coffer';
   *
   * const service = new EncryptionService('correct horse battery staple');
   * const place = { owner: 'clinic', collection: 'notes', name: 'note-17' };
   * const sealed = await service.encrypt('stable', { classification: 'phi', place });
   *
   * console.log(await service.decrypt(sealed, { place })); // stable
   * const elsewhere = { ...place, name: 'note-18' };
   * const opening = service.decrypt(sealed, { place: elsewhere });
   * console.log(await opening.catch((error: CofferError) => error.code)); // authentication_failed
   * ```
   */
  encrypt(value: unknown, options: EncryptOptions): Promise<EncryptedPackage>;
  async encrypt(
    value: unknown,
    options: DataClassification | EncryptOptions,
    context?: Context,
  ): Promise<EncryptedPackage> {
    const parts = await this.#seal(value, options, context);
    return packageToJson(this.#core as Core, parts);
  }

  /**
   * Seals a value into a binary package (SPEC.md section 3), which is a quarter smaller than JSON and faster.
   *
   * @throws {@link InputError} `invalid_argument` or `too_large`; and as {@link EncryptionService.initialize} does.
   *
   * @example Seal bytes into bytes
   * ```ts
   * import { EncryptionService } from '@coffer-storage/coffer';
   *
   * const service = new EncryptionService('correct horse battery staple');
   * const sealed = await service.encryptBinary(new Uint8Array([1, 2, 3]), 'internal');
   *
   * console.log(sealed instanceof Uint8Array); // true
   * console.log(await service.decrypt(sealed)); // Uint8Array(3) [ 1, 2, 3 ]
   * ```
   */
  encryptBinary(
    value: unknown,
    classification: DataClassification,
    context?: Context,
  ): Promise<Uint8Array<ArrayBuffer>>;
  /** Seals a value into a binary package for a place or a use. */
  encryptBinary(value: unknown, options: EncryptOptions): Promise<Uint8Array<ArrayBuffer>>;
  async encryptBinary(
    value: unknown,
    options: DataClassification | EncryptOptions,
    context?: Context,
  ): Promise<Uint8Array<ArrayBuffer>> {
    return joinParts(await this.#seal(value, options, context));
  }

  /** Seals in the tick of the call. If the keys are not there yet, everything that the caller may change is copied first. */
  async #seal(
    value: unknown,
    options: DataClassification | EncryptOptions,
    context: Context | undefined,
  ): Promise<Parts> {
    const given = typeof options === 'object' ? options : { classification: options, context };
    let encoded = encodeValue(value);
    let { classification, use = 'service', place, context: ctx } = given as EncryptOptions;
    if (!this.#sealer) {
      [encoded, ctx, place] = [encoded.own(), copyContext(ctx), { ...place }];
      await this.initialize();
    }
    const where = encodePlace(this.#core as Core, place);
    return (this.#sealer as Sealer).seal(encoded, {
      use,
      classification,
      place: where,
      context: ctx,
    });
  }

  /**
   * Opens a package in either form and returns the value in the type it was sealed with.
   *
   * @typeParam T The type that the caller expects. It is not checked.
   *
   * @throws {@link KeyError} `wrong_secret`, `unknown_key` or `key_destroyed`.
   * @throws {@link IntegrityError} `authentication_failed` or `class_too_low`.
   * @throws {@link InputError} `malformed` or `unsupported_version`; and as {@link EncryptionService.initialize} does.
   *
   * @example Refuse packages of a lower class
   * ```ts
   * import { CofferError, EncryptionService } from '@coffer-storage/coffer';
   *
   * const service = new EncryptionService('correct horse battery staple');
   * const sealed = await service.encrypt('nothing secret', 'public');
   * try {
   *   await service.decrypt<string>(sealed, { minClass: 'phi' });
   * } catch (error) {
   *   console.log((error as CofferError).code); // class_too_low
   * }
   * ```
   */
  async decrypt<T = unknown>(
    sealed: EncryptedPackage | Uint8Array,
    options: DecryptOptions = {},
  ): Promise<T> {
    let { use = 'service', place, minClass } = options;
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
      parts.body = new Uint8Array(parts.body); // a copy: the bytes may be the caller's
      sealer = await sealer;
    }
    return (await sealer.open(parts, { use, place: where, minClass })).value as T;
  }

  /** Returns the sealer that opens packages with this header. A passphrase has one for each salt. */
  #sealerFor(core: Core, head: Bytes): Sealer | Promise<Sealer> {
    const source = head[at.source];
    const single = this.#secret.kind === PASSWORD_SLOT ? PASSPHRASE : MASTER_KEY;
    const own = 'keyset' in this.#unlock ? KEYSET : single;
    if (source !== own)
      throw errorOf(
        own === KEYSET ? 'unknown_key' : 'wrong_secret',
        'sealed with another kind of key',
      );
    if (source !== PASSPHRASE) return this.#sealer as Sealer;
    core.check(core.call.checkDerivation(core.begin().bytes(head).length));
    const iterations = new DataView(head.buffer, head.byteOffset).getUint32(at.iterations);
    return this.#derive(core, head.slice(at.salt, at.salt + SALT), iterations);
  }
}

function encodePlace(core: Core, place: Partial<Place> | undefined): EncodedPlace {
  const { owner = '', collection = '', name } = place ?? {};
  return { prefix: placePrefix(core, owner, collection, name !== undefined), name };
}

/** Opens a session with one key and no keyset document. */
async function openSingleKey(
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
