import type { Bytes } from './bytes.js';
import { errorOf } from './errors.js';

/** Encodes bytes in base64 (RFC 4648 section 4). */
export function toBase64(b: Uint8Array): string {
  let s = '';
  for (let i = 0; i < b.length; i += 0x8000) s += String.fromCharCode(...b.subarray(i, i + 0x8000));
  return btoa(s);
}

/** Decodes base64. Throws `malformed`. */
export function fromBase64(text: string): Bytes {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    throw errorOf('malformed', 'not base64');
  }
}
