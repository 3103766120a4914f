/**
 * The baseline of every comparison: code that a good engineer would write by hand with WebCrypto and idb. It uses one non-extractable
 * key, a fresh random nonce for each value, and additional data with the type and the place of the value, about as long as Coffer's.
 * Nonce and ciphertext are in one record. A write is complete when its transaction is.
 */
import { type DBSchema, type IDBPDatabase, openDB } from 'idb';

type Bytes = Uint8Array<ArrayBuffer>;

export interface Sealed {
  iv: Bytes;
  ct: ArrayBuffer;
}

interface Schema extends DBSchema {
  records: { key: string; value: Sealed };
}

const encoder = new TextEncoder();

/** An AES-256-GCM key with its operations. */
export class Box {
  private constructor(private readonly key: CryptoKey) {}

  static async create(): Promise<Box> {
    return new Box(
      await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, [
        'encrypt',
        'decrypt',
      ]),
    );
  }

  async seal(name: string, value: Bytes): Promise<Sealed> {
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const ct = await crypto.subtle.encrypt(
      { name: 'AES-GCM', iv, additionalData: additionalData(name) },
      this.key,
      value,
    );
    return { iv, ct };
  }

  async open(name: string, { iv, ct }: Sealed): Promise<Bytes> {
    return new Uint8Array(
      await crypto.subtle.decrypt(
        { name: 'AES-GCM', iv, additionalData: additionalData(name) },
        this.key,
        ct,
      ),
    );
  }
}

/** As many bytes as Coffer's header and place have. */
function additionalData(name: string): Bytes {
  return encoder.encode(
    `v=1;alg=AES-256-GCM;key=4f0c3a5e9d21;app=records;vault=5b7c9e0a-64d3-4a3e-9b51-0f4f7f0f1a2b;store=patients;class=phi;name=${name}`,
  );
}

/** A store of sealed records. */
export class Store {
  private constructor(
    private readonly box: Box,
    private readonly db: IDBPDatabase<Schema>,
  ) {}

  static async open(database: string): Promise<Store> {
    const db = await openDB<Schema>(database, 1, {
      upgrade: (db) => void db.createObjectStore('records'),
    });
    return new Store(await Box.create(), db);
  }

  async put(name: string, value: Bytes): Promise<void> {
    const sealed = await this.box.seal(name, value);
    const tx = this.db.transaction('records', 'readwrite');
    await Promise.all([tx.store.put(sealed, name), tx.done]);
  }

  async get(name: string): Promise<Bytes | undefined> {
    const sealed = await this.db.get('records', name);
    return sealed && this.box.open(name, sealed);
  }

  async putBlob(name: string, blob: Blob): Promise<void> {
    await this.put(name, new Uint8Array(await blob.arrayBuffer()));
  }

  async getBlob(name: string, type: string): Promise<Blob | undefined> {
    const bytes = await this.get(name);
    return bytes && new Blob([bytes], { type });
  }

  /** Writes all records in one transaction. */
  async putAll(entries: readonly (readonly [string, Bytes])[]): Promise<void> {
    const sealed = await Promise.all(entries.map(([name, value]) => this.box.seal(name, value)));
    const tx = this.db.transaction('records', 'readwrite');
    await Promise.all([
      ...sealed.map((record, i) => tx.store.put(record, entries[i]?.[0])),
      tx.done,
    ]);
  }

  async getAll(names: readonly string[]): Promise<(Bytes | undefined)[]> {
    const tx = this.db.transaction('records');
    const records = await Promise.all(names.map((name) => tx.store.get(name)));
    return Promise.all(records.map((record, i) => record && this.box.open(names[i] ?? '', record)));
  }
}
