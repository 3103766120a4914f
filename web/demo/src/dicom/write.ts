/** Writes a DICOM file (PS3.10) in Explicit VR Little Endian or Big Endian. It covers what the samples need. */

/** One element: group and number, value representation, value. */
export type Entry = readonly [tag: number, vr: string, value: string | number | Uint8Array];

export const LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
export const BIG_ENDIAN = '1.2.840.10008.1.2.2';

const encoder = new TextEncoder();

/** Writes a file with preamble, meta header and the elements in the order of their tags. Text is UTF-8. */
export function writeDicom(
  sopClass: string,
  sopInstance: string,
  entries: readonly Entry[],
  syntax = LITTLE_ENDIAN,
): Uint8Array<ArrayBuffer> {
  const meta = join(
    (
      [
        [0x00020001, 'OB', Uint8Array.of(0, 1)],
        [0x00020002, 'UI', sopClass],
        [0x00020003, 'UI', sopInstance],
        [0x00020010, 'UI', syntax],
        [0x00020012, 'UI', '2.25.220347713301967212418650713265902143881'],
      ] satisfies Entry[]
    ).map((entry) => element(entry, true)),
  );
  const little = syntax !== BIG_ENDIAN;
  const sorted = [...entries].sort(([a], [b]) => a - b);
  const preamble = new Uint8Array(132);
  preamble.set(encoder.encode('DICM'), 128);
  return join([
    preamble,
    element([0x00020000, 'UL', meta.length], true),
    meta,
    ...sorted.map((entry) => element(entry, little)),
  ]);
}

/** Encodes one element (PS3.5 section 7.1.2): these VRs have two reserved bytes and a length of 32 bits. */
function element([tag, vr, value]: Entry, little: boolean): Uint8Array<ArrayBuffer> {
  const long = ['OB', 'OW', 'UT'].includes(vr);
  const content = pad(encode(vr, value, little), vr);
  const head = new Uint8Array(long ? 12 : 8);
  const view = new DataView(head.buffer);
  view.setUint16(0, tag >>> 16, little);
  view.setUint16(2, tag & 0xffff, little);
  head.set(encoder.encode(vr), 4);
  if (long) view.setUint32(8, content.length, little);
  else view.setUint16(6, content.length, little);
  return join([head, content]);
}

function encode(vr: string, value: Entry[2], little: boolean): Uint8Array {
  if (typeof value === 'string') return encoder.encode(value);
  if (typeof value !== 'number') return value;
  const view = new DataView(new ArrayBuffer(vr === 'UL' ? 4 : 2));
  if (vr === 'UL') view.setUint32(0, value, little);
  else if (vr === 'SS') view.setInt16(0, value, little);
  else view.setUint16(0, value, little);
  return new Uint8Array(view.buffer);
}

/** Values have an even length: UIDs and bytes are padded with zero, text with a space. */
function pad(content: Uint8Array, vr: string): Uint8Array {
  if (content.length % 2 === 0) return content;
  return join([content, Uint8Array.of(vr === 'UI' || vr === 'OB' ? 0 : 0x20)]);
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
