/** The values and keys that every comparison uses. */

/** The package as it is shipped: web/dist/index.js. */
export type Shipped = typeof import('../../../web/src/index.js');

export const SIZES = {
  '100 B': 100,
  '1 KiB': 1 << 10,
  '64 KiB': 64 << 10,
  '1 MiB': 1 << 20,
  '16 MiB': 16 << 20,
} as const;

/** Base64 of 32 zero bytes: a benchmark guards nothing. */
export const MASTER_KEY = `${'A'.repeat(43)}=`;

/** Random bytes; getRandomValues gives at most 64 KiB at a time. */
export function bytesOf(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i += 1 << 16) crypto.getRandomValues(bytes.subarray(i, i + (1 << 16)));
  return bytes;
}
