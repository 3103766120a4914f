/** One entry of the server's encrypted cache: the server seals what it gets and opens what it gives. */
import type { DataClassification } from 'coffer';
import { CofferClient, type Entry } from 'coffer/client';
import { DemoError } from '../demo-error.js';

/** A value as the cache answered it. */
export interface Cached {
  bytes: Uint8Array<ArrayBuffer>;
  classification: string;
  keyId: string;
}

/** One entry of the cache, under one token. Every method rejects with the server's code and sentence. */
export class CacheEntry {
  readonly #client: CofferClient;
  readonly #key: string;

  constructor(key: string, token: string) {
    this.#client = new CofferClient('', { token });
    this.#key = key;
  }

  /** Stores a value for a time such as `1h`. */
  async put(value: Blob, classification: DataClassification, ttl: string, context: Record<string, string>): Promise<void> {
    await this.#client.set(this.#key, value, { class: classification, ttl, context });
  }

  /** Reads the value, opened by the server. */
  async get(): Promise<Cached> {
    return cached(await this.#client.get(this.#key));
  }

  /** Reads the package as it lies in Redis or the embedded store, sealed. */
  async getPackage(): Promise<Cached> {
    return cached(await this.#client.getPackage(this.#key));
  }

  async delete(): Promise<void> {
    if (!(await this.#client.delete(this.#key))) throw missing();
  }
}

function cached(entry: Entry | null): Cached {
  if (!entry) throw missing();
  return { bytes: entry.value, classification: entry.class, keyId: entry.keyId };
}

const missing = () => new DemoError('not_found', 'there is nothing under that key');
