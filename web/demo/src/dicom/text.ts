/** Decodes text of a DICOM file in its Specific Character Set (PS3.3 C.12.1.1.2) with TextDecoder. */

const labels: Record<string, string> = {
  'ISO_IR 100': 'iso-8859-1',
  'ISO_IR 101': 'iso-8859-2',
  'ISO_IR 109': 'iso-8859-3',
  'ISO_IR 110': 'iso-8859-4',
  'ISO_IR 144': 'iso-8859-5',
  'ISO_IR 127': 'iso-8859-6',
  'ISO_IR 126': 'iso-8859-7',
  'ISO_IR 138': 'iso-8859-8',
  'ISO_IR 148': 'iso-8859-9',
  'ISO_IR 166': 'tis-620',
  'ISO_IR 13': 'shift_jis',
  'ISO_IR 192': 'utf-8',
  'ISO 2022 IR 13': 'shift_jis',
  'ISO 2022 IR 87': 'iso-2022-jp',
  'ISO 2022 IR 149': 'euc-kr',
  'ISO 2022 IR 58': 'gb2312',
  GB18030: 'gb18030',
  GBK: 'gbk',
};

/** Escape sequences that announce a character set. Only the decoder of ISO-2022-JP understands them. */
const escapes = /\x1b[$(),-][)]?[@-~]/g;

/** Returns the name of the decoder for the character sets in element (0008,0005). */
export function encodingOf(characterSets: string): string {
  const sets = characterSets
    .split('\\')
    .map((set) => set.trim().replace('ISO 2022 IR 100', 'ISO_IR 100'));
  const known = sets.map((set) => labels[set]).filter((label) => label !== undefined);
  return known.at(-1) ?? 'iso-8859-1';
}

/** Decodes a value and strips its padding. */
export function decodeText(bytes: Uint8Array, encoding: string): string {
  const text = new TextDecoder(encoding).decode(bytes);
  return (encoding === 'iso-2022-jp' ? text : text.replace(escapes, ''))
    .replace(/[\0 ]+$/, '')
    .trim();
}

/** Formats a person's name: the first component group, `Family^Given^Middle^Prefix^Suffix` (PS3.5 6.2.1). */
export function personName(value: string): string {
  const [family = '', given = '', middle = '', prefix = '', suffix = ''] = (
    value.split('=')[0] ?? ''
  ).split('^');
  return [prefix, given, middle, family, suffix]
    .map((part) => part.trim())
    .filter(Boolean)
    .join(' ');
}

/** Formats a date `YYYYMMDD` as `YYYY-MM-DD`; any other text is returned as it is. */
export function dateValue(value: string): string {
  return value.replace(/^(\d{4})(\d{2})(\d{2})$/, '$1-$2-$3');
}
