import { concat, encode, none, unshared } from '../core/bytes.js';
import { type Core, Reader, checkText, classOf, decoder, isBytes } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import { PADDED, SEALED_CONTEXT, SEALED_NAME, TOMBSTONE } from './header.js';
import { isJson, stringify } from '../core/plain.js';

/** What JSON carries: it comes back as `JSON.parse` gives it. */
export type Json =
  | string
  | number
  | boolean
  | null
  | { readonly [key: string]: Json | undefined }
  | readonly Json[];

/** A value that can be stored. A text, typed array, DataView, ArrayBuffer, Blob or File comes back as such; anything else travels as JSON. */
export type StoredValue = Json | ArrayBufferView | ArrayBuffer | Blob | File;

/** A value as bytes, or a Blob still to be read. */
export class Encoded {
  /** `borrowed`: the bytes are the caller's and may change. `details`: how many bytes precede the value. */
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

  /** The same with bytes of its own: to be taken before anything is awaited. */
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

/** The element types of a view, by number (SPEC.md section 6.2). A Uint8Array is of the type bytes. */
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

/** Turns a value into bytes, in the tick of the call. Throws `invalid_argument` for what would not come back equal, `too_large` over 64 MiB. */
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

/** A typed array or DataView of any realm: its element type, then its bytes, which are little-endian in every browser. */
function encodeView(view: ArrayBufferView): Encoded {
  if (isBytes(view)) {
    // With bytes it is not detached. A new view of them would cost WebCrypto more than one that it knows already.
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

/** Reads a Blob, behind what is said of it. */
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
    throw errorOf('invalid_argument', 'the file cannot be read: was it changed?', cause);
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
    const text = JSON.stringify(value); // first: it throws for a cycle
    if (isJson(value, leaf)) return minusZero ? stringify(value) : text;
  } catch (error) {
    cause = error; // a cycle, or a RangeError: the stack is used up
  }
  throw errorOf('invalid_argument', 'a value is text, bytes, a Blob, or JSON throughout', cause);
}

/** What a plaintext held. */
export interface Decoded {
  value: unknown;
  /** The context, if it was sealed inside. */
  context?: Record<string, string>;
  /** The record's name, if it was sealed inside. */
  name?: string;
}

/** Turns an opened plaintext back into the value. Throws `malformed` for one that does not follow its type and flags. */
export function decodeValue(
  core: Core,
  type: number,
  flags: number,
  plaintext: Uint8Array<ArrayBuffer>,
): Decoded {
  if (type < BLOB && flags === 0) return { value: decodeBytes(type, sized(flags, plaintext)) };
  const head = plaintext.subarray(0, 20 << 10); // details are shorter
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

/** The bytes of a value, if they are as many as its flags allow. */
function sized(flags: number, value: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (value.length > (flags & TOMBSTONE ? 0 : LIMIT)) throw errorOf('malformed');
  return value;
}

/** Removes zeros at the end, and 0x80 before them. */
function unpadded(b: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let n = b.length;
  while (n > 0 && b[n - 1] === 0) n--;
  if (n === 0 || b[n - 1] !== 0x80) throw errorOf('malformed');
  return b.subarray(0, n - 1);
}

/** The view of its class, over a buffer of its own. Throws `unsupported_version` in a browser without that class. */
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

/** Bytes over a buffer of their own: not part of another. */
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
