import { concat, encode, none, unshared } from '../core/bytes.js';
import { type Core, Reader, checkText, classOf, decoder, isBytes } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import { PADDED, SEALED_CONTEXT, SEALED_NAME, TOMBSTONE } from './header.js';
import { isJson, stringify } from '../core/plain.js';

/** A JSON value. It is read back as `JSON.parse` returns it. */
export type Json =
  | string
  | number
  | boolean
  | null
  | { readonly [key: string]: Json | undefined }
  | readonly Json[];

/** A value that can be stored. Strings, typed arrays, DataViews, ArrayBuffers, Blobs and Files keep their type. Other values are stored as JSON. */
export type StoredValue = Json | ArrayBufferView | ArrayBuffer | Blob | File;

/** A value as bytes, or a Blob that must still be read. */
export class Encoded {
  /** `borrowed` means that the caller may change the bytes. `details` is the number of bytes before the value. */
  constructor(
    readonly type: number,
    readonly bytes: Uint8Array<ArrayBuffer>,
    readonly borrowed = false,
    readonly blob?: Blob,
    readonly details = 0,
  ) {
    if ((blob ? blob.size : bytes.length - details) > LIMIT)
      throw errorOf('too_large', 'a value has at most 64 MiB');
  }

  /** Returns the value with bytes that the caller cannot change. Call it before any await. */
  own(): Encoded {
    return this.borrowed ? new Encoded(this.type, new Uint8Array(this.bytes)) : this;
  }
}

const TEXT = 1;
const BYTES = 2;
const BUFFER = 3;
const JSON_TEXT = 4;
const BLOB = 5;
const FILE = 6;
const VIEW = 7;
const LIMIT = 64 << 20;

/** The element types of a view by number (SPEC.md section 6.2). A Uint8Array has the type bytes instead. */
export const elements = [
  '',
  'DataView',
  'Int8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'BigInt64Array',
  'BigUint64Array',
  'Float16Array',
  'Float32Array',
  'Float64Array',
];

/** Encodes a value synchronously. Throws `invalid_argument` for a value that would not be read back equal, `too_large` over 64 MiB. */
export function encodeValue(value: unknown): Encoded {
  if (value instanceof Encoded) return value;
  const name = classOf(value);
  if (name === 'Blob' || name === 'File') {
    return new Encoded(name === 'File' ? FILE : BLOB, none, false, value as Blob);
  }
  if (ArrayBuffer.isView(value)) return encodeView(value);
  if (name === 'ArrayBuffer')
    return new Encoded(BUFFER, unshared(bytesOf(value as ArrayBuffer)), true);
  if (typeof value !== 'string') return new Encoded(JSON_TEXT, encode(toJson(value)));
  checkText(value);
  return new Encoded(TEXT, encode(value));
}

/** Encodes a typed array or DataView of any realm: its element type, then its bytes, which every browser keeps little-endian. */
function encodeView(view: ArrayBufferView): Encoded {
  if (isBytes(view)) {
    // A view with bytes is not detached. WebCrypto is slower with a new view of the same bytes.
    const bytes = view.length > 0 ? view : bytesOf(view.buffer, view);
    return new Encoded(BYTES, unshared(bytes), true);
  }
  const name = classOf(view) as string;
  const element = elements.indexOf(name);
  if (element < 1) throw errorOf('invalid_argument', `a value of the class ${name}`);
  return new Encoded(
    VIEW,
    concat(new Uint8Array([element]), bytesOf(view.buffer, view)),
    false,
    undefined,
    1,
  );
}

function bytesOf<T extends ArrayBufferLike>(buffer: T, part?: ArrayBufferView): Uint8Array<T> {
  try {
    return new Uint8Array(buffer, part?.byteOffset, part?.byteLength);
  } catch (cause) {
    throw errorOf('invalid_argument', 'the buffer is detached', cause);
  }
}

/** Reads a Blob into bytes after its details: media type, file name and time. */
export async function readBlob(core: Core, { type, blob }: Encoded): Promise<Encoded> {
  const { name = '', lastModified = 0 } = blob as File;
  const input = core
    .begin()
    .text('')
    .text((blob as Blob).type)
    .text(type === FILE ? name : '').length;
  const details = core.output(
    core.call.encodeDetails(type, 0, 0, input, type === FILE ? lastModified : 0),
  );
  try {
    const bytes = new Uint8Array(await new Blob([details, blob as Blob]).arrayBuffer());
    return new Encoded(type, bytes, false, undefined, details.length);
  } catch (cause) {
    throw errorOf('invalid_argument', 'the file cannot be read: it may have changed', cause);
  }
}

function toJson(value: unknown): string {
  let minusZero = false;
  const leaf = (v: string | number) => {
    minusZero ||= Object.is(v, -0);
    return typeof v === 'string' || Number.isFinite(v);
  };
  let cause: unknown;
  try {
    const text = JSON.stringify(value); // throws for a cycle, which isJson would not end at
    if (isJson(value, leaf)) return minusZero ? stringify(value) : text;
  } catch (error) {
    cause = error; // a cycle, or a RangeError if the stack is used up
  }
  throw errorOf('invalid_argument', 'a value is text, bytes, a Blob, or JSON throughout', cause);
}

/** The content of a plaintext. */
export interface Decoded {
  value: unknown;
  /** The context, if it was sealed inside. */
  context?: Record<string, string>;
  /** The record's name, if it was sealed inside. */
  name?: string;
}

/** Decodes a plaintext into the value. Throws `malformed` if it does not fit its type and flags. */
export function decodeValue(
  core: Core,
  type: number,
  flags: number,
  plaintext: Uint8Array<ArrayBuffer>,
): Decoded {
  if (type < BLOB && flags === 0) return { value: decodeBytes(type, sized(flags, plaintext)) };
  const head = plaintext.subarray(0, 20 << 10); // the details are shorter
  const length = core.begin().bytes(head).length;
  const r = new Reader(core.output(core.call.splitDetails(type, flags, length)));
  const rest = plaintext.subarray(r.uint(4));
  const value = sized(flags, flags & PADDED ? unpadded(rest) : rest);
  const [lastModified, element, size] = [r.int64(), r.uint(1), r.uint(1)];
  const [name, mediaType, fileName] = [r.text(), r.text(), r.text()];
  const decoded: Decoded = { value: undefined };
  if (flags & SEALED_CONTEXT) decoded.context = r.map();
  if (flags & SEALED_NAME) decoded.name = name;
  if (flags & TOMBSTONE)
    decoded.value = null; // a tombstone has no value
  else if (type === BLOB) decoded.value = new Blob([value], { type: mediaType });
  else if (type === FILE)
    decoded.value = new File([value], fileName, { type: mediaType, lastModified });
  else decoded.value = type === VIEW ? decodeView(element, size, value) : decodeBytes(type, value);
  return decoded;
}

/** Checks the size of a value. A tombstone's is 0. */
function sized(flags: number, value: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (value.length > (flags & TOMBSTONE ? 0 : LIMIT)) throw errorOf('malformed');
  return value;
}

/** Removes padding: zeros at the end and the 0x80 before them. */
function unpadded(b: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let n = b.length;
  while (n > 0 && b[n - 1] === 0) n--;
  if (n === 0 || b[n - 1] !== 0x80) throw errorOf('malformed');
  return b.subarray(0, n - 1);
}

/** Makes a view of its class over a buffer of its own. Throws `unsupported_version` in a browser without the class. */
function decodeView(element: number, size: number, b: Uint8Array<ArrayBuffer>): unknown {
  if (b.length % size !== 0) throw errorOf('malformed');
  const View = (globalThis as Record<string, unknown>)[elements[element] ?? ''] as
    | (new (
        buffer: ArrayBuffer,
      ) => unknown)
    | undefined;
  if (!View) throw errorOf('unsupported_version', `this browser has no ${elements[element] ?? ''}`);
  return new View(whole(b).buffer);
}

/** Returns bytes whose buffer has no other bytes. */
function whole(b: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return b.byteLength === b.buffer.byteLength ? b : b.slice();
}

function decodeBytes(type: number, b: Uint8Array<ArrayBuffer>): unknown {
  if (type === BYTES) return whole(b);
  if (type === BUFFER) return whole(b).buffer;
  try {
    const text = decoder.decode(b);
    return type === TEXT ? text : (JSON.parse(text) as unknown);
  } catch (cause) {
    throw errorOf('malformed', undefined, cause);
  }
}
