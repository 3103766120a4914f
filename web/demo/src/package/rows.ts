import type { Field } from './layout.js';

/** Bytes of a row that belong to one field. */
export interface Run {
  field: Field;
  bytes: Uint8Array;
}

export interface Row {
  at: number;
  runs: Run[];
  /** Whether bytes are omitted before this row. */
  afterGap: boolean;
}

/** The number of bytes shown of the beginning, and of the end with the tag, of a long value. */
const SHOWN = 160;
const TAIL = 32;

/** Splits a package into rows for a hex view, without the middle of a long value. */
export function rowsOf(
  bytes: Uint8Array,
  fields: readonly Field[],
  width: number,
): { rows: Row[]; hidden: number } {
  const bodyAt = fields.find(({ tone }) => tone === 'sealed' || tone === 'clear')?.start ?? 0;
  const up = (n: number) => Math.ceil(n / width) * width;
  const gapStart = up(bodyAt + SHOWN);
  const gapEnd = up(bytes.length - TAIL) - width;
  const gap = gapEnd > gapStart;
  const rows: Row[] = [];
  for (let at = 0; at < bytes.length; at += width) {
    if (gap && at >= gapStart && at < gapEnd) continue;
    rows.push({
      at,
      runs: runsOf(bytes, fields, at, Math.min(at + width, bytes.length)),
      afterGap: gap && at === gapEnd,
    });
  }
  return { rows, hidden: gap ? gapEnd - gapStart : 0 };
}

function runsOf(bytes: Uint8Array, fields: readonly Field[], from: number, to: number): Run[] {
  return fields
    .filter(({ start, end }) => start < to && end > from)
    .map((field) => ({
      field,
      bytes: bytes.subarray(Math.max(field.start, from), Math.min(field.end, to)),
    }));
}

/** Formats bytes as ASCII, with a dot for each byte that is not printable. */
export function textRun(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) =>
    byte > 0x1f && byte < 0x7f ? String.fromCharCode(byte) : '·',
  ).join('');
}
