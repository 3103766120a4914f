/** Packages from and for the Go program: sealed and opened here through the shipped package. */
import {
  type DataClassification,
  type EncryptedPackage,
  type EncryptedStorage,
  EncryptionService,
  type Place,
  type Unlock,
  type Use,
  createEncryptedStorage,
} from '@coffer-storage/coffer';
import { codeOf, same } from './check.js';
import { getRecord, putRecord, splitRecord } from './idb.js';
import { type Spelt, spell, buildValue } from './values.js';

/** A value as both sides describe it. See item in e2e/interop/exchange.go. */
export interface Item extends Spelt {
  class: DataClassification;
  use: Use;
  place: Place;
  context: Record<string, string>;
}

export interface Sealed {
  binary: Uint8Array<ArrayBuffer>;
  json: EncryptedPackage;
}

const optionsOf = ({ use, place }: Item) => ({ use, place });
const sealing = ({ use, place, class: classification, context }: Item) => ({
  use,
  place,
  classification,
  context,
});

/** Seals each item in both encodings with one service. */
export async function seal(unlock: Unlock | string, items: Item[]): Promise<Sealed[]> {
  const service = new EncryptionService(unlock);
  return Promise.all(
    items.map(async (item) => ({
      binary: await service.encryptBinary(buildValue(item), sealing(item)),
      json: await service.encrypt(buildValue(item), sealing(item)),
    })),
  );
}

/** Stores each item of use storage, and returns the stored packages: from getPackage and from the raw record. */
export async function store(
  database: string,
  unlock: Unlock,
  items: Item[],
): Promise<Uint8Array[]> {
  const packages: Uint8Array[] = [];
  for (const item of items) {
    const { collection, name = '' } = item.place;
    const storage = await createEncryptedStorage(database, collection, { unlock });
    await storage.setEncrypted(name, buildValue(item), item.class, item.context);
    const [sealed, { head, body }] = [
      (await storage.getPackage(name)) as Uint8Array,
      await getRecord(database, collection, name),
    ];
    same('record', [...head, ...new Uint8Array(body)], [...sealed]);
    packages.push(sealed);
    storage.close();
  }
  return packages;
}

/** Opens each package in both encodings, and returns the failures. */
export async function open(
  unlock: Unlock | string,
  items: Item[],
  sealed: Sealed[],
): Promise<string[]> {
  const service = new EncryptionService(unlock);
  const wrong: string[] = [];
  for (const [i, item] of items.entries()) {
    const { binary, json } = sealed[i] as Sealed;
    for (const [encoding, of] of [
      ['binary', binary],
      ['JSON', json],
    ] as const) {
      const opening = service
        .decrypt(of, { ...optionsOf(item), minClass: item.class })
        .then((value) => matches(item, value));
      await opening.catch((error: unknown) =>
        wrong.push(`${item.class} ${item.type} ${encoding}: ${String(error)}`),
      );
    }
    same('context', json.metadata.context, item.context);
  }
  return wrong;
}

/** Opens each package of use storage from a record. */
export async function load(
  database: string,
  unlock: Unlock,
  items: Item[],
  sealed: Sealed[],
): Promise<string[]> {
  const wrong: string[] = [];
  const stores = new Map<string, EncryptedStorage>();
  for (const [i, item] of items.entries()) {
    const { collection, name = '' } = item.place;
    const storage =
      stores.get(collection) ?? (await createEncryptedStorage(database, collection, { unlock }));
    stores.set(collection, storage);
    await putRecord(database, collection, name, splitRecord((sealed[i] as Sealed).binary));
    const loading = storage.getDecrypted(name).then((value) => matches(item, value));
    await loading.catch((error: unknown) =>
      wrong.push(`${item.class} ${item.type}: ${String(error)}`),
    );
    same('context', (await storage.inspect(name))?.context, item.context);
  }
  return wrong;
}

async function matches(item: Item, value: unknown): Promise<void> {
  const { type, bytes, mediaType, fileName, lastModified, element } = item;
  same('value', await spell(value, type), {
    type,
    bytes,
    mediaType,
    fileName,
    lastModified,
    element,
  });
}

/** The codes with which packages are refused by a service. */
export async function codes(
  unlock: Unlock | string,
  items: Item[],
  sealed: Sealed[],
): Promise<string[]> {
  const service = new EncryptionService(unlock);
  return Promise.all(
    items.map((item, i) => codeOf(service.decrypt((sealed[i] as Sealed).json, optionsOf(item)))),
  );
}
