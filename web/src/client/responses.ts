/** Reads the server's responses into the results of the client's calls. */
import { makeError, makeForeignError } from './http.js';
import type { CofferError, DataClassification, EncryptedPackage } from '../index.js';
import type { components } from './openapi.gen.js';

type Schemas = components['schemas'];
export type Bytes = Uint8Array<ArrayBuffer>;

/** The header of an entry's package. It is authentic only together with an opened value. */
export interface EntryInfo {
  /** The class of the value. */
  class: DataClassification;
  /** The id of the key: 64 hexadecimal digits. */
  keyId: string;
  /** The time of sealing, in milliseconds precision. */
  encryptedAt: Date;
  /** The strings that were authenticated with the value. */
  context: Record<string, string>;
  /** Names this write of the entry, for `ifMatch` and `ifNoneMatch`. */
  etag: string;
}

/** A value of the cache with the header of its package. */
export interface Entry extends EntryInfo {
  /** The value as bytes. */
  value: Bytes;
  /** The media type that the value was stored with. */
  contentType: string;
}

/** A value of the cache as a stream. */
export interface EntryStream extends EntryInfo {
  /** Read it to its end or cancel it. If it fails, the bytes before are not the whole value. */
  body: ReadableStream<Bytes>;
  /** The media type that the value was stored with. */
  contentType: string;
}

/** The header and time to live of an entry. */
export interface EntryHead extends EntryInfo {
  /** The seconds for which the entry is still kept, rounded up. `null` means without limit. */
  ttl: number | null;
}

/** The result of a write. */
export interface Stored {
  /** Names this write of the entry, for `ifMatch` and `ifNoneMatch`. */
  etag: string;
  /** The seconds for which the entry is kept, rounded up. `null` means without limit. */
  ttl: number | null;
}

/** An opened value, all of which is authentic. */
export interface Opened {
  /** Text if the package holds text or JSON, else bytes. */
  value: string | Bytes;
  /** The type that the value was sealed with. */
  valueType: Schemas['ValueType'];
  /** The class of a value of type `view`, such as `Float32Array`. */
  elementType?: string;
  /** The class of the value. */
  class: DataClassification;
  /** The id of the key: 64 hexadecimal digits. */
  keyId: string;
  /** The time of sealing. */
  encryptedAt: Date;
  /** The strings that were authenticated with the value. */
  context: Record<string, string>;
}

/** The times of a session. */
export interface SessionTimes {
  /** When the session was created. */
  createdAt: Date;
  /** When the session ends unless it is extended. */
  expiresAt: Date;
}

/** Returns the media type of a response. */
export const readContentType = (response: Response): string =>
  response.headers.get('Content-Type') ?? '';

/** Reads the time to live of an entry in seconds. */
export function parseTtl({ headers, status }: Response): number | null {
  const text = headers.get('Coffer-TTL');
  if (text !== null && !/^\d+$/.test(text)) throw makeForeignError(status);
  return text === null ? null : Number(text);
}

/** Parses the server's JSON. Throws `internal` for anything else, which a proxy may have sent. */
export function parseJson(text: string, status: number): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw makeForeignError(status);
  }
}

/** Reads the result of a write. */
export const parseStored = (response: Response): Stored => ({
  etag: response.headers.get('ETag') ?? '',
  ttl: parseTtl(response),
});

/** Reads the header of an entry's package. */
export function parseInfo({ headers, status }: Response): EntryInfo {
  const encryptedAt = new Date(headers.get('Coffer-Encrypted-At') ?? NaN);
  if (!headers.has('Coffer-Class') || Number.isNaN(encryptedAt.getTime()))
    throw makeForeignError(status);
  return {
    class: headers.get('Coffer-Class') as DataClassification,
    keyId: headers.get('Coffer-Key-Id') ?? '',
    encryptedAt,
    context: parseJson(headers.get('Coffer-Context') ?? '{}', status) as Record<string, string>,
    etag: headers.get('ETag') ?? '',
  };
}

const CONTEXT_LENGTH = 'Coffer-Context-Length';

/** Reports whether the context is too long for a header. `?context=body` asks for it before the value. */
export const hasLongContext = ({ headers }: Response): boolean => headers.has(CONTEXT_LENGTH);

/** Reads the context at the beginning of a body. Returns a response that has it as a header. */
export async function readContext(response: Response): Promise<Response> {
  const headers = new Headers(response.headers);
  const text = new Uint8Array(Number(headers.get(CONTEXT_LENGTH)));
  const reader = (response.body as ReadableStream<Bytes>).getReader();
  let rest: Bytes = new Uint8Array();
  for (let at = 0; at < text.length; ) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError('the response ended early');
    const part = value.subarray(0, text.length - at);
    text.set(part, at);
    at += part.length;
    rest = value.subarray(part.length);
  }
  headers.set('Coffer-Context', new TextDecoder().decode(text));
  const body = new ReadableStream<Bytes>({
    start: (control) => control.enqueue(rest),
    async pull(control) {
      const { done, value } = await reader.read();
      if (done) control.close();
      else control.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, { status: response.status, headers });
}

/** Reads an entry. */
export const parseEntry = async (response: Response): Promise<Entry> => ({
  ...parseInfo(response),
  contentType: readContentType(response),
  value: new Uint8Array(await response.arrayBuffer()),
});

/** Reads a package in its JSON form. */
export const parsePackage = (sealed: Schemas['Package']): EncryptedPackage =>
  sealed as EncryptedPackage;

/** Reads an opened value. */
export function parseOpened({ text, data, encryptedAt, ...rest }: Schemas['Opened']): Opened {
  return { ...rest, value: text ?? fromBase64(data ?? ''), encryptedAt: new Date(encryptedAt) };
}

/** Reads the times of a session. */
export const parseTimes = ({ createdAt, expiresAt }: Schemas['SessionTimes']): SessionTimes => ({
  createdAt: new Date(createdAt),
  expiresAt: new Date(expiresAt),
});

/** Makes the error of one item of a batch. */
export const makeResultError = (
  code: Schemas['Code'] = 'internal',
  status: number,
  detail = 'the server gave no reason',
): CofferError => Object.assign(makeError(code, detail), { status });

/** Decodes base64. */
export const fromBase64 = (text: string): Bytes =>
  Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
