import type { Field } from './layout.js';

/** Where a text's UTF-8 bytes first occur; -1 where they do not. */
export function findText(bytes: Uint8Array, text: string): number {
  const wanted = new TextEncoder().encode(text);
  const [first] = wanted;
  if (first === undefined) return -1;
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}

/** The field that a byte belongs to. */
export function fieldAt(fields: readonly Field[], at: number): Field | undefined {
  return fields.find(({ start, end }) => at >= start && at < end);
}
