import type { Field } from './layout.js';

/** Returns the offset of the first occurrence of a text in UTF-8, or -1. */
export function findText(bytes: Uint8Array, text: string): number {
  const wanted = new TextEncoder().encode(text);
  const [first] = wanted;
  if (first === undefined) return -1;
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}

/** Returns the field that contains a byte. */
export function fieldAt(fields: readonly Field[], at: number): Field | undefined {
  return fields.find(({ start, end }) => at >= start && at < end);
}
