/** Byte strings: joining, comparing, numbers, UTF-8. */

/** Bytes in memory that is neither shared nor resizable, as WebCrypto requires. */
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

/** Reports whether two byte strings are equal, in time that depends only on their lengths. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

/** Encodes a number below 2^53 in `size` bytes, big-endian. */
export function uint(n: number, size: number): Bytes {
  const bytes = new Uint8Array(size);
  for (let i = size; i > 0; n = Math.floor(n / 256)) bytes[--i] = n;
  return bytes;
}

/** Returns the bytes, copied if their memory is shared or resizable. */
export function unshared(b: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = b;
  const plain = buffer instanceof ArrayBuffer && !(buffer as { resizable?: boolean }).resizable;
  return plain ? (b as Uint8Array<ArrayBuffer>) : new Uint8Array(b);
}
