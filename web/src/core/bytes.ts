/** Byte strings: joining, comparing, numbers, UTF-8. */

/** Bytes in memory of their own, as WebCrypto takes them: neither shared nor resizable. */
export type Bytes = Uint8Array<ArrayBuffer>;

export const encoder = new TextEncoder();
export const none: Bytes = new Uint8Array(0);

/** Encodes a text as UTF-8. */
export function encode(text: string): Bytes {
  return encoder.encode(text);
}

/** Joins byte arrays. */
export function concat(...parts: readonly Uint8Array[]): Bytes {
  const joined = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Whether two byte strings are equal, in a time that depends on their lengths only. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

/** A number below 2^53 as so many bytes, big-endian. */
export function uint(n: number, size: number): Bytes {
  const bytes = new Uint8Array(size);
  for (let i = size; i > 0; n = Math.floor(n / 256)) bytes[--i] = n;
  return bytes;
}

/** The bytes, copied if their memory is shared or resizable, which WebCrypto does not take. */
export function unshared(b: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = b;
  const plain = buffer instanceof ArrayBuffer && !(buffer as { resizable?: boolean }).resizable;
  return plain ? (b as Uint8Array<ArrayBuffer>) : new Uint8Array(b);
}
