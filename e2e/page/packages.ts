/** The vectors of packages through the shipped package: those that open, and those that are refused. */
import {
  type EncryptedPackage,
  type EncryptedStorage,
  EncryptionService,
  type Inspection,
  createEncryptedStorage,
} from '@coffer-storage/coffer';
import { classes } from '../../web/src/core/classification.js';
import { algorithms, sources, types, uses } from '../../web/src/crypto/header.js';
import { importSecret, keyId } from '../../web/src/crypto/primitives.js';
import { type Unlock, readSecret } from '../../web/src/unlock/secret.js';
import { elements } from '../../web/src/crypto/values.js';
import { codeOf, every, fromHex, type Outcome, refused, same } from './check.js';
import {
  type Documents,
  type PackageVector,
  type Refusal,
  type Refusals,
  type Rules,
  bytesOf,
  file,
  packageVectors,
  refusedBytes,
} from './files.js';
import { putRecord, splitRecord } from './idb.js';
import { readers, unlockOf } from './readers.js';
import { LONG, available, rebuild, withCiphertext } from './rebuild.js';
import { type Spelt, type ValueType, spell } from './values.js';

const SEALED_CONTEXT = 2;
const TOMBSTONE = 1;

/** The lowest iterations that policy reads, by class: more than the format demands. */
const POLICY = [0, 100_000, 100_000, 150_000, 150_000, 250_000];

/** Every valid package opens in both encodings and yields its value in its type. A chunked one is refused, not misread. */
export async function opens(): Promise<Outcome> {
  const reader = await readers();
  return every((await packageVectors()).filter(available), async (v) => {
    const service = reader(v.document, v.secret);
    const bytes = await rebuild(v);
    const options = {
      use: uses[v.header.use] as 'storage',
      place: v.place,
      minClass: classes[v.header.class - 1]!,
    };
    for (const sealed of bytes.length > LONG ? [bytes] : [bytes, await withCiphertext(v, bytes)]) {
      if (v.header.iterations && v.header.iterations < POLICY[v.header.class]!)
        await refused('policy', 'kdf_out_of_range', service.decrypt(sealed, options));
      else if (!v.open)
        await refused('chunked', 'unsupported_version', service.decrypt(sealed, options));
      else await sameValue(v, await service.decrypt(sealed, options));
    }
  });
}

/** Every package of use storage that can be a record, read from IndexedDB through EncryptedStorage. */
export async function opensFromStorage(): Promise<Outcome> {
  const { documents } = await file<Documents>('documents');
  const records = (await packageVectors()).filter((v) => {
    const owner = documents.find((d) => d.name === v.document)?.owner;
    return v.open && v.header.use === 1 && v.place.name !== undefined && owner === v.place.owner;
  });
  const stores = new Map<string, Promise<EncryptedStorage>>();
  const unlocks = new Map(documents.map((d) => [d.name, unlockOf(d)]));
  return every(records, async (v) => {
    const database = `vectors ${v.document}`;
    const [store, name] = [v.place.collection, v.place.name as string];
    const id = `${database}: ${store}`;
    if (!stores.has(id))
      stores.set(
        id,
        createEncryptedStorage(database, store, { unlock: unlocks.get(v.document ?? '')! }),
      );
    const storage = (await stores.get(id)) as EncryptedStorage;
    const bytes = await rebuild(v);
    await putRecord(database, store, name, splitRecord(bytes));
    await sameValue(v, await storage.getDecrypted(name));
    if (bytes.length <= LONG) same('package', await storage.getPackage(name), bytes);
    sameHeader(v, (await storage.inspect(name)) as Inspection, bytes.length);
  });
}

async function sameValue(v: PackageVector, value: unknown): Promise<void> {
  if (v.header.flags & TOMBSTONE) return same('value of a tombstone', value, null);
  const want: Spelt = {
    type: types[v.header.type] as ValueType,
    bytes: bytesOf(v.value),
    mediaType: '',
    fileName: '',
    lastModified: 0,
    element: '',
    ...shown(v),
  };
  const got = await spell(value, want.type);
  if (want.bytes.length > LONG) {
    const equal =
      got.bytes.length === want.bytes.length && got.bytes.every((b, i) => b === want.bytes[i]);
    return same('long value', [equal, got.type], [true, want.type]);
  }
  if (want.type === 'json')
    for (const s of [got, want])
      s.bytes = new TextEncoder().encode(
        JSON.stringify(JSON.parse(new TextDecoder().decode(s.bytes))),
      );
  same('value', got, want);
}

/** The details that come back; a sealed context does not. */
function shown({ details }: PackageVector) {
  return (
    details && {
      mediaType: details.mediaType,
      fileName: details.fileName,
      lastModified: details.lastModified,
      element: elements[details.element ?? 0] ?? '',
    }
  );
}

function sameHeader(
  { header: h }: PackageVector,
  { encryptedAt, ...got }: Inspection,
  size: number,
): void {
  same('time', encryptedAt.getTime(), h.encryptedAt);
  same('header', got, {
    version: '1.0',
    algorithm: algorithms[h.algorithm],
    classification: classes[h.class - 1],
    use: uses[h.use],
    keySource: sources[h.source],
    keyId: h.keyId,
    valueType: types[h.type],
    revision: h.revision,
    context: h.context,
    tombstone: (h.flags & TOMBSTONE) !== 0,
    sealedContext: (h.flags & SEALED_CONTEXT) !== 0,
    padded: (h.flags & 4) !== 0,
    sealedName: (h.flags & 8) !== 0,
    size,
  });
}

/** Invalid packages as bytes are refused by decrypt and when they are read from IndexedDB. */
export async function refusesBytes(): Promise<Outcome> {
  const { documents } = await file<Documents>('documents');
  const unlock = unlockOf(documents[0]!)!;
  const [service, storage] = [
    new EncryptionService(unlock),
    await createEncryptedStorage('no packages', 's', { unlock }),
  ];
  return every((await file<Refusals>('invalid')).binary, async (v) => {
    const bytes = bytesOf(v.bytes);
    await refused('decrypt', v.code, service.decrypt(bytes));
    if (bytes.length > 1 << 20) return;
    await putRecord('no packages', 's', 'k', splitRecord(bytes));
    await refused('getDecrypted', v.code, storage.getDecrypted('k'));
    await refused('inspect', v.code, storage.inspect('k'));
  });
}

/** Invalid packages as JSON are refused. Text that JSON.parse refuses does not reach the package. */
export async function refusesTexts(): Promise<Outcome> {
  const { documents } = await file<Documents>('documents');
  const service = new EncryptionService(unlockOf(documents[0]!)!);
  return every((await file<Refusals>('invalid')).json, async (v) => {
    const read = () =>
      JSON.parse(
        v.text ??
          new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(fromHex(v.hex ?? '')),
      ) as EncryptedPackage;
    const got = await codeOf((async () => service.decrypt(read()))());
    const unread = /^the error (SyntaxError|TypeError)/.test(got);
    same('code', unread ? 'malformed' : got, v.code);
    if (unread)
      await Promise.resolve()
        .then(read)
        .then(
          () => same('read', 'by JSON.parse', v.code),
          () => undefined,
        );
  });
}

/** Packages that must not open with these keys in this place. For a chunked package that parses, only the chunked flag is checked. */
export async function refusesToOpen(): Promise<Outcome> {
  const [reader, packages] = [await readers(), await packageVectors()];
  const { documents } = await file<Documents>('documents');
  const locked = new Set(documents.filter((d) => d.slots.length === 0).map((d) => d.name));
  return every((await file<Refusals>('invalid')).open, async (v) => {
    if (locked.has(v.document ?? '')) return; // no secret unlocks it; opensNothing reads its parts
    const bytes = refusedBytes(v, packages);
    const chunked = bytes[4] === 3 && v.code === 'authentication_failed';
    const code = await codeOf(reader(v.document, v.secret).decrypt(bytes, optionsOf(v)));
    if (!chunked || code !== 'unsupported_version') same('code', code, v.code);
  });
}

/** Packages that open. Their values are not the text that their types demand. */
export async function refusesValues(): Promise<Outcome> {
  const reader = await readers();
  return every((await file<Refusals>('invalid')).decode, (v) =>
    refused(
      'decrypt',
      v.code,
      reader(v.document, v.secret).decrypt(bytesOf(v.package), optionsOf(v)),
    ),
  );
}

function optionsOf(v: Refusal) {
  const minClass = classes[v.least - 1];
  return { use: uses[v.use] as 'storage', place: v.place, ...(minClass && { minClass }) };
}

/** Secrets as texts yield the expected key as a master key or a password, or are refused. */
export async function secrets(): Promise<Outcome> {
  return every((await file<Rules>('rules')).secrets, async (v) => {
    if (v.hex !== undefined) return; // not representable as a string in JavaScript
    const read = async (unlock: Unlock) => readSecret(unlock);
    const [password, masterKey] = [{ password: v.text ?? '' }, { masterKey: v.text ?? '' }];
    if (v.code) await refused('password', v.code, read(password));
    if (v.kind !== 'master-key') await refused('master key', 'invalid_argument', read(masterKey));
    if (v.code) return;
    const secret = await read(v.kind === 'master-key' ? masterKey : password);
    const key = await secret.key(fromHex(v.salt ?? ''), v.iterations ?? 0);
    same('key id', await keyId(key), await keyId(await importSecret(fromHex(v.key ?? ''))));
  });
}
