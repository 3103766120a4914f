/** What the server answers, as callers of the client get it. */
import { makeError, makeForeignError } from './http.js';
import type { CofferError, DataClassification, EncryptedPackage } from '../index.js';
import type { components } from './openapi.gen.js';

type Schemas = components['schemas'];
export type Bytes = Uint8Array<ArrayBuffer>;

/** What a package's header says of an entry; authentic only beside an opened value. */
export interface EntryInfo {
  class: DataClassification;
  /** 64 hexadecimal digits. */
  keyId: string;
  encryptedAt: Date;
  context: Record<string, string>;
  /** Names this write of the entry, for `ifMatch` and `ifNoneMatch`. */
  etag: string;
}

/** A value of the cache with what its package says of it. */
export interface Entry extends EntryInfo {
  value: Bytes;
  contentType: string;
}

/** A value of the cache that is still on its way. */
export interface EntryStream extends EntryInfo {
  /** To be read to its end or cancelled. It fails where the connection does: what came before is then not the whole value. */
  body: ReadableStream<Bytes>;
  contentType: string;
}

/** An entry that was not opened. */
export interface EntryHead extends EntryInfo {
  /** Seconds that the entry is still kept, rounded up; `null` is for ever. */
  ttl: number | null;
}

/** What was stored. */
export interface Stored {
  etag: string;
  /** Seconds that the entry is kept, rounded up; `null` is for ever. */
  ttl: number | null;
}

/** A value that was opened, all of it authentic. */
export interface Opened {
  /** Text if the package holds text or JSON, else bytes. */
  value: string | Bytes;
  valueType: Schemas['ValueType'];
  /** Of the value type `view`: the class, such as `Float32Array`. */
  elementType?: string;
  class: DataClassification;
  keyId: string;
  encryptedAt: Date;
  context: Record<string, string>;
}

/** When a session was created, and when it ends. */
export interface SessionTimes {
  createdAt: Date;
  expiresAt: Date;
}

export const readContentType = (response: Response): string =>
  response.headers.get('Content-Type') ?? '';

export function parseTtl({ headers, status }: Response): number | null {
  const text = headers.get('Coffer-TTL');
  if (text !== null && !/^\d+$/.test(text)) throw makeForeignError(status);
  return text === null ? null : Number(text);
}

/** JSON of the server. Throws `internal` for anything else, which a proxy may have sent. */
export function parseJson(text: string, status: number): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw makeForeignError(status);
  }
}

export const parseStored = (response: Response): Stored => ({
  etag: response.headers.get('ETag') ?? '',
  ttl: parseTtl(response),
});

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

/** Whether the context is too long for a header: `?context=body` puts it before the value. */
export const hasLongContext = ({ headers }: Response): boolean => headers.has(CONTEXT_LENGTH);

/** An answer whose body begins with the context, as one that has it as a header. */
export async function readContext(response: Response): Promise<Response> {
  const headers = new Headers(response.headers);
  const text = new Uint8Array(Number(headers.get(CONTEXT_LENGTH)));
  const reader = (response.body as ReadableStream<Bytes>).getReader();
  let rest: Bytes = new Uint8Array();
  for (let at = 0; at < text.length; ) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError('the answer ended early');
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

export const parseEntry = async (response: Response): Promise<Entry> => ({
  ...parseInfo(response),
  contentType: readContentType(response),
  value: new Uint8Array(await response.arrayBuffer()),
});

export const parsePackage = (sealed: Schemas['Package']): EncryptedPackage =>
  sealed as EncryptedPackage;

export function parseOpened({ text, data, encryptedAt, ...rest }: Schemas['Opened']): Opened {
  return { ...rest, value: text ?? fromBase64(data ?? ''), encryptedAt: new Date(encryptedAt) };
}

export const parseTimes = ({ createdAt, expiresAt }: Schemas['SessionTimes']): SessionTimes => ({
  createdAt: new Date(createdAt),
  expiresAt: new Date(expiresAt),
});

export const makeResultError = (
  code: Schemas['Code'] = 'internal',
  status: number,
  detail = 'the server gave no reason',
): CofferError => Object.assign(makeError(code, detail), { status });

/** The bytes of a text in base64. */
export const fromBase64 = (text: string): Bytes =>
  Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
