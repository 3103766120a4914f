/** The server's encrypted cache over HTTP: the server seals what it gets and opens what it gives. */
import type { DataClassification } from 'coffer';
import { DemoError } from '../demo-error.js';

export const PACKAGE_TYPE = 'application/vnd.coffer.package';

/** A value as the cache answered it. */
export interface Cached {
  bytes: Uint8Array<ArrayBuffer>;
  classification: string;
  keyId: string;
}

/** One entry of the cache, under one token. Every method rejects with the server's code and sentence. */
export class CacheEntry {
  readonly #url: string;
  readonly #authorization: string;

  constructor(key: string, token: string) {
    this.#url = `/v1/cache/${encodeURIComponent(key)}`;
    this.#authorization = `Bearer ${token.trim()}`;
  }

  /** Stores a value for a time such as `1h`. */
  async put(value: Blob, classification: DataClassification, ttl: string, context: Record<string, string>): Promise<void> {
    const query = new URLSearchParams({ class: classification, ttl });
    await this.#send('PUT', `?${query}`, { 'Coffer-Context': asciiJson(context) }, value);
  }

  /** Reads the value, opened by the server. */
  get(): Promise<Cached> {
    return this.#read('*/*');
  }

  /** Reads the package as it lies in Redis or the embedded store, sealed. */
  getPackage(): Promise<Cached> {
    return this.#read(PACKAGE_TYPE);
  }

  async delete(): Promise<void> {
    await this.#send('DELETE');
  }

  async #read(accept: string): Promise<Cached> {
    const response = await this.#send('GET', '', { Accept: accept });
    return {
      bytes: new Uint8Array(await response.arrayBuffer()),
      classification: response.headers.get('Coffer-Class') ?? '',
      keyId: response.headers.get('Coffer-Key-Id') ?? '',
    };
  }

  async #send(method: string, query = '', headers: Record<string, string> = {}, body: Blob | null = null): Promise<Response> {
    const init: RequestInit = { method, body, cache: 'no-store', headers: { ...headers, Authorization: this.#authorization } };
    const response = await fetch(this.#url + query, init).catch(() => {
      throw new DemoError('unreachable', 'the server does not answer');
    });
    if (!response.ok) throw await problemFrom(response);
    return response;
  }
}

/** A failed answer is a problem document (RFC 9457) with a stable code; a proxy's may be anything. */
async function problemFrom(response: Response): Promise<DemoError> {
  const otherwise = { code: `http_${response.status}`, detail: `the server answered with status ${response.status}` };
  const problem = (await response.json().catch(() => ({}))) as Partial<typeof otherwise>;
  return new DemoError(problem.code ?? otherwise.code, problem.detail ?? otherwise.detail);
}

/** JSON in ASCII, the only text that a header carries safely. */
function asciiJson(value: Record<string, string>): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
