/** Values as the caller of the package has them, and spelt out so that they can be compared and sent to another program. */

export type ValueType = 'text' | 'bytes' | 'buffer' | 'json' | 'blob' | 'file' | 'view';

/** A value as its type, the bytes in a package, and its details. */
export interface Spelt {
  type: ValueType;
  bytes: Uint8Array<ArrayBuffer>;
  mediaType: string;
  fileName: string;
  lastModified: number;
  /** The class of a view; empty of other types. */
  element: string;
}

const encode = (s: string) => new TextEncoder().encode(s);
const decode = (b: Uint8Array) =>
  new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(b);

/** The value that a caller would store. */
export function buildValue({
  type,
  bytes,
  mediaType,
  fileName,
  lastModified,
  element,
}: Spelt): unknown {
  switch (type) {
    case 'text':
      return decode(bytes);
    case 'bytes':
      return bytes;
    case 'buffer':
      return bytes.slice().buffer;
    case 'json':
      return JSON.parse(decode(bytes));
    case 'blob':
      return new Blob([bytes], { type: mediaType });
    case 'file':
      return new File([bytes], fileName, { type: mediaType, lastModified });
    case 'view':
      return new (globalThis as unknown as Record<string, new (b: ArrayBuffer) => unknown>)[
        element
      ]!(bytes.slice().buffer);
  }
}

/** Converts an opened value. A text cannot be told apart from a JSON string, so the type that was sealed must be passed. */
export async function spell(value: unknown, type: ValueType): Promise<Spelt> {
  const spelt = { type, mediaType: '', fileName: '', lastModified: 0, element: '' };
  if (value instanceof File) {
    const { type: mediaType, name: fileName, lastModified } = value;
    return {
      ...spelt,
      type: must(type, 'file'),
      bytes: new Uint8Array(await value.arrayBuffer()),
      mediaType,
      fileName,
      lastModified,
    };
  }
  if (value instanceof Blob)
    return {
      ...spelt,
      type: must(type, 'blob'),
      bytes: new Uint8Array(await value.arrayBuffer()),
      mediaType: value.type,
    };
  if (value instanceof ArrayBuffer)
    return { ...spelt, type: must(type, 'buffer'), bytes: new Uint8Array(value) };
  if (value instanceof Uint8Array)
    return { ...spelt, type: must(type, 'bytes'), bytes: new Uint8Array(value) };
  if (ArrayBuffer.isView(value)) {
    const element = Object.prototype.toString.call(value).slice(8, -1);
    return {
      ...spelt,
      type: must(type, 'view'),
      bytes: new Uint8Array(value.buffer as ArrayBuffer, value.byteOffset, value.byteLength),
      element,
    };
  }
  if (type === 'text' && typeof value === 'string') return { ...spelt, bytes: encode(value) };
  return { ...spelt, type: must(type, 'json'), bytes: encode(JSON.stringify(value)) };
}

function must(type: ValueType, found: ValueType): ValueType {
  if (type !== found) throw new Error(`the value is of type ${found}, not ${type}`);
  return type;
}
