/** Checks of arguments, for callers without TypeScript. Each throws `invalid_argument`, and none changes a value silently. */
import { toBase64 } from '../core/base64.js';
import type { Bytes } from '../core/bytes.js';
import { type CofferError, DataClassification, InputError } from '../index.js';
import { isJson, isPlain } from '../core/plain.js';

/** A time above 0: whole seconds as a number, or a Go duration such as `'90s'` or `'1h30m'`. */
export type Duration = string | number;

/** Bytes in memory: a typed array, DataView, ArrayBuffer or SharedArrayBuffer of any realm, resizable or not. */
export type Binary = ArrayBufferView | ArrayBufferLike;

/** Makes the error of an invalid argument. */
export const invalid = (message: string, cause?: unknown): CofferError =>
  new InputError('invalid_argument', message, cause === undefined ? undefined : { cause });

const classOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Returns the options of a call if every name is known. A misspelled option would otherwise be ignored. */
export function checkOptions<T extends object>(options: T | undefined, ...known: string[]): T {
  if (options === undefined) return {} as T;
  if (!isPlain(options)) throw invalid('options are an object');
  for (const name of Object.keys(options))
    if (!known.includes(name))
      throw invalid(`there is no option ${name}; known here: ${known.join(', ')}`);
  return options;
}

/** Returns a well-formed text. UTF-8 would replace lone surrogates and make two texts one. */
export function checkText(what: string, value: unknown): string {
  if (typeof value !== 'string') throw invalid(`the ${what} is not a string`);
  if (/\p{Surrogate}/u.test(value)) throw invalid(`the ${what} is not well-formed Unicode`);
  return value;
}

/** Returns a text that is not empty, or undefined. */
export function checkName(what: string, value: unknown): string | undefined {
  if (value !== undefined && checkText(what, value) === '') throw invalid(`the ${what} is empty`);
  return value as string | undefined;
}

/** Returns a text that is not empty. */
export function checkKey(what: string, value: unknown): string {
  if (value === undefined) throw invalid(`the ${what} is missing`);
  return checkName(what, value) as string;
}

/** Returns the value of a header: printable ASCII that is not empty, or undefined. */
export function checkHeader(what: string, value: unknown): string | undefined {
  if (value !== undefined && !(typeof value === 'string' && /^[ -~]+$/.test(value)))
    throw invalid(`the ${what} is empty or not printable ASCII`);
  return value as string | undefined;
}

/** Returns a class. */
export function checkClass(value: unknown): DataClassification {
  const classes: unknown[] = Object.values(DataClassification);
  if (!classes.includes(value)) throw invalid(`a class is one of ${classes.join(', ')}`);
  return value as DataClassification;
}

/** A class, or undefined for any class. */
export const checkOptionalClass = (value: unknown): DataClassification | undefined =>
  value === undefined ? undefined : checkClass(value);

/** Returns a duration in the server's notation. */
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

/** Returns a page size from 1 to 1,000, or undefined. */
export function checkPageSize(value: unknown): number | undefined {
  if (
    value !== undefined &&
    !(Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 1000)
  )
    throw invalid('pageSize is a whole number from 1 to 1,000');
  return value as number | undefined;
}

/** Returns an AbortSignal of any realm, or undefined. */
export function checkSignal(value: unknown): AbortSignal | undefined {
  const signal = value as AbortSignal | undefined;
  if (
    value !== undefined &&
    !(typeof signal?.aborted === 'boolean' && typeof signal.addEventListener === 'function')
  )
    throw invalid('signal is not an AbortSignal: pass the signal of the controller');
  return signal;
}

/** Copies a context, an object literal of strings. */
export function checkContext(value: unknown): Record<string, string> | undefined {
  if (value === undefined) return undefined;
  if (!isPlain(value)) throw invalid('a context is an object literal of strings');
  for (const [name, text] of Object.entries(value)) {
    checkText('name in the context', name);
    checkText('value in the context', text);
  }
  return { ...value } as Record<string, string>;
}

/** Returns an array. */
export function checkList<T>(what: string, value: unknown): readonly T[] {
  if (!Array.isArray(value)) throw invalid(`${what} are not an array`);
  return value as T[];
}

/** Returns an object literal that JSON reproduces: without class instances, functions and numbers that are not finite. */
export function checkObject(what: string, value: unknown): Record<string, unknown> {
  try {
    if (isPlain(value) && isJson(value, isLossless)) return value;
  } catch (cause) {
    throw invalid(`the ${what} has a cycle, or is too deep`, cause); // RangeError: the stack is used up
  }
  throw invalid(`the ${what} is not an object of JSON throughout`);
}

/** Returns a package in its JSON form. The server checks its members. */
export function checkPackage<T extends object>(value: T): T {
  if (!isPlain(value))
    throw invalid('the package is not an object: pass the JSON form, as encrypt returns it');
  return value;
}

const isLossless = (v: string | number): boolean =>
  typeof v === 'string' ? !/\p{Surrogate}/u.test(v) : Number.isFinite(v);

/** Copies a value's bytes, because retries must not see later changes and fetch takes no shared or resizable memory. Undefined for a value without bytes. */
export function copyBytes(value: unknown): Bytes | undefined {
  try {
    if (ArrayBuffer.isView(value)) {
      // Throws for a view of a detached or shrunk buffer. Its length would be 0.
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

const VALUE_RULE = 'a value is a string or bytes (a typed array, DataView or ArrayBuffer)';

/** Returns a text unchanged, or a copy of bytes. */
function checkValue(value: unknown): string | Bytes {
  if (typeof value === 'string') return checkText('value', value);
  const bytes = copyBytes(value);
  if (!bytes)
    throw invalid(`${VALUE_RULE}; convert others with JSON.stringify or await blob.arrayBuffer()`);
  return bytes;
}

/** Encodes a value as base64; a text is UTF-8. */
export function encodeBase64(value: unknown): string {
  const checked = checkValue(value);
  return toBase64(typeof checked === 'string' ? new TextEncoder().encode(checked) : checked);
}

/** Returns the member of a request that has the value: `text`, or `data` in base64. */
export function encodeTextOrData(value: unknown): { text: string } | { data: string } {
  const checked = checkValue(value);
  return typeof checked === 'string' ? { text: checked } : { data: toBase64(checked) };
}

/** Returns a value as the body of a request. A Blob is read while it is sent. */
export function encodeBody(value: unknown): string | Bytes | Blob {
  const isBlob =
    /^(Blob|File)$/.test(classOf(value)) && typeof (value as Blob).arrayBuffer === 'function';
  if (!isBlob) return checkValue(value);
  // fetch would send a Blob of another realm, such as jsdom's, as the text "[object Blob]".
  if (!(value instanceof Blob))
    throw invalid('the Blob is not of this realm: pass await blob.arrayBuffer()');
  return value;
}
