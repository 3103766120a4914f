/** Checks of what callers pass to the client: JavaScript has no types. Each throws `invalid_argument`, and converts without loss. */
import { toBase64 } from '../core/base64.js';
import { type CofferError, DataClassification, InputError } from '../index.js';
import { isJson, isPlain } from '../core/plain.js';

type Bytes = Uint8Array<ArrayBuffer>;

/** A time above 0: whole seconds, or a Go duration such as `90s` or `1h30m`. */
export type Duration = string | number;

/** Bytes in memory: a typed array, DataView, ArrayBuffer or SharedArrayBuffer of any realm, resizable or not. */
export type Binary = ArrayBufferView | ArrayBufferLike;

export const invalid = (message: string, cause?: unknown): CofferError =>
  new InputError('invalid_argument', message, cause === undefined ? undefined : { cause });

const classOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** The options of a call, if all their names are known: a misspelled one would be ignored. */
export function checkOptions<T extends object>(options: T | undefined, ...known: string[]): T {
  if (options === undefined) return {} as T;
  if (!isPlain(options)) throw invalid('options are an object');
  for (const name of Object.keys(options))
    if (!known.includes(name))
      throw invalid(`there is no option ${name}; known here: ${known.join(', ')}`);
  return options;
}

/** A text that UTF-8 can carry; lone surrogates would be replaced, and two texts become one. */
export function checkText(what: string, value: unknown): string {
  if (typeof value !== 'string') throw invalid(`the ${what} is not a string`);
  if (/\p{Surrogate}/u.test(value)) throw invalid(`the ${what} is not well-formed Unicode`);
  return value;
}

/** A text that is not empty, or undefined. */
export function checkName(what: string, value: unknown): string | undefined {
  if (value !== undefined && checkText(what, value) === '') throw invalid(`the ${what} is empty`);
  return value as string | undefined;
}

/** A text that is not empty. */
export function checkKey(what: string, value: unknown): string {
  if (value === undefined) throw invalid(`the ${what} is missing`);
  return checkName(what, value) as string;
}

/** The value of a header: printable ASCII, not empty, or undefined. */
export function checkHeader(what: string, value: unknown): string | undefined {
  if (value !== undefined && !(typeof value === 'string' && /^[ -~]+$/.test(value)))
    throw invalid(`the ${what} is empty or not printable ASCII`);
  return value as string | undefined;
}

export function checkClass(value: unknown): DataClassification {
  const classes: unknown[] = Object.values(DataClassification);
  if (!classes.includes(value)) throw invalid(`a class is one of ${classes.join(', ')}`);
  return value as DataClassification;
}

export const checkLeast = (value: unknown): DataClassification | undefined =>
  value === undefined ? undefined : checkClass(value);

/** A duration as the server reads it. */
export function checkTtl(value: unknown): string {
  const valid =
    typeof value === 'number'
      ? Number.isSafeInteger(value) && value > 0
      : typeof value === 'string' && /^[!-~]+$/.test(value);
  if (!valid)
    throw invalid(
      'the ttl is neither a whole number of seconds above 0 nor a text such as 90s or 1h30m',
    );
  return String(value);
}

export function checkPageSize(value: unknown): number | undefined {
  if (
    value !== undefined &&
    !(Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 1000)
  )
    throw invalid('pageSize is a whole number from 1 to 1,000');
  return value as number | undefined;
}

export function checkSignal(value: unknown): AbortSignal | undefined {
  const signal = value as AbortSignal | undefined;
  if (
    value !== undefined &&
    !(typeof signal?.aborted === 'boolean' && typeof signal.addEventListener === 'function')
  )
    throw invalid('signal is not an AbortSignal: pass the signal of the controller');
  return signal;
}

/** A copy of a context: an object literal of strings. */
export function checkContext(value: unknown): Record<string, string> | undefined {
  if (value === undefined) return undefined;
  if (!isPlain(value)) throw invalid('a context is an object literal of strings');
  for (const [name, text] of Object.entries(value)) {
    checkText('name in the context', name);
    checkText('value in the context', text);
  }
  return { ...value } as Record<string, string>;
}

export function checkList<T>(what: string, value: unknown): readonly T[] {
  if (!Array.isArray(value)) throw invalid(`${what} are not an array`);
  return value as T[];
}

/** An object literal that comes back equal from JSON: nothing in it is of a class, a function or not finite. */
export function checkObject(what: string, value: unknown): Record<string, unknown> {
  try {
    if (isPlain(value) && isJson(value, isCarried)) return value;
  } catch (cause) {
    throw invalid(`the ${what} has a cycle, or is too deep`, cause); // RangeError: the stack is used up
  }
  throw invalid(`the ${what} is not an object of JSON throughout`);
}

/** A package in its JSON form. */
export function checkPackage<T extends object>(value: T): T {
  if (!isPlain(value))
    throw invalid('the package is not an object: pass the JSON form, as encrypt returns it');
  return value;
}

const isCarried = (v: string | number): boolean =>
  typeof v === 'string' ? !/\p{Surrogate}/u.test(v) : Number.isFinite(v);

/** A copy of a value's bytes, of its own: retries must not see later changes, and neither fetch nor WebCrypto takes shared or resizable memory. */
export function copyBytes(value: unknown): Bytes | undefined {
  try {
    if (ArrayBuffer.isView(value)) {
      // Throws for a view of a detached buffer or outside of a resized one, whose length would be read as 0.
      if (classOf(value) !== 'DataView') Reflect.apply(Uint8Array.prototype.keys, value, []);
      return new Uint8Array(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    }
    if (/^(Shared)?ArrayBuffer$/.test(classOf(value)))
      return new Uint8Array(new Uint8Array(value as ArrayBuffer));
  } catch (cause) {
    throw invalid('the buffer of the value is detached, or was made smaller', cause);
  }
  return undefined;
}

const WANTED = 'a value is a string or bytes (a typed array, DataView or ArrayBuffer)';

/** Text as it is, or bytes. */
function checkValue(value: unknown): string | Bytes {
  if (typeof value === 'string') return checkText('value', value);
  const bytes = copyBytes(value);
  if (!bytes)
    throw invalid(
      `${WANTED}; convert others before, with JSON.stringify or await blob.arrayBuffer() for instance`,
    );
  return bytes;
}

/** A value as base64 of bytes; a text's are UTF-8. */
export function base64Of(value: unknown): string {
  const checked = checkValue(value);
  return toBase64(typeof checked === 'string' ? new TextEncoder().encode(checked) : checked);
}

/** A value to be sealed: text stays text. */
export function textOrData(value: unknown): { text: string } | { data: string } {
  const checked = checkValue(value);
  return typeof checked === 'string' ? { text: checked } : { data: toBase64(checked) };
}

/** A value as the body of a request; a Blob is read while it is sent. */
export function bodyOf(value: unknown): string | Bytes | Blob {
  const isBlob =
    /^(Blob|File)$/.test(classOf(value)) && typeof (value as Blob).arrayBuffer === 'function';
  if (!isBlob) return checkValue(value);
  // A Blob of another realm, such as jsdom's, would be sent as the text "[object Blob]".
  if (!(value instanceof Blob))
    throw invalid('the Blob is not of this realm: pass await blob.arrayBuffer()');
  return value;
}
