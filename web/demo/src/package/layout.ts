/** The positions of the fields of a binary package (shared/format/SPEC.md section 3), for display only: nothing is verified or opened. */

/** Selects the colour. */
export type Tone =
  | 'format'
  | 'class'
  | 'key'
  | 'time'
  | 'context'
  | 'nonce'
  | 'sealed'
  | 'clear'
  | 'tag';

export interface Field {
  name: string;
  tone: Tone;
  start: number;
  end: number;
  /** The value of the field as text. */
  meaning: string;
}

const algorithms = ['', 'AES-256-GCM', 'AES-256-GCM, value in the clear', 'Cobblestone-256'];
const uses = ['', 'storage', 'cache', 'service', 'field', 'file'];
const sources = ['', 'keyset', 'passphrase', 'master key'];
const classes = ['', 'public', 'internal', 'confidential', 'PII', 'PHI'];
const types = ['', 'text', 'bytes', 'buffer', 'JSON', 'blob', 'file', 'view'];

const PUBLIC = 2;
const FIXED = 80;
const NONCE = 12;
const TAG = 16;

/** Returns the fields of a package, in order and without gaps. */
export function fieldsOf(bytes: Uint8Array): Field[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [algorithm = 0, use = 0, flags = 0, source = 0, cls = 0, type = 0] = bytes.subarray(4, 10);
  const layout = new Layout();
  layout.add('Magic', 'format', 3, 'CFR');
  layout.add('Version', 'format', 1, `${bytes[3]}`);
  layout.add('Algorithm', 'format', 1, algorithms[algorithm] ?? '');
  layout.add('Use', 'format', 1, uses[use] ?? '');
  layout.add('Flags', 'format', 1, flags === 0 ? 'none' : flags.toString(2));
  layout.add('Key source', 'format', 1, sources[source] ?? '');
  layout.add('Class', 'class', 1, classes[cls] ?? '');
  layout.add('Value type', 'format', 1, types[type] ?? '');
  layout.add('Key id', 'key', 32, `${hex(bytes.subarray(10, 18))}…`);
  layout.add('Salt', 'key', 16, `${hex(bytes.subarray(42, 50))}…`);
  layout.add('Sealed at', 'time', 8, new Date(Number(view.getBigUint64(58))).toISOString());
  layout.add('Revision', 'time', 8, `${view.getBigUint64(66)}`);
  layout.add(
    'KDF iterations',
    'format',
    4,
    view.getUint32(74) === 0 ? 'none, the key is random' : `${view.getUint32(74)}`,
  );
  const contextLength = view.getUint16(78);
  layout.add(
    'Context',
    'context',
    2 + contextLength,
    contextText(bytes.subarray(FIXED, FIXED + contextLength)),
  );
  layout.add('Nonce', 'nonce', NONCE, 'random, fresh for every value');
  return algorithm === PUBLIC ? layout.publicBody(bytes.length) : layout.sealedBody(bytes.length);
}

class Layout {
  readonly fields: Field[] = [];
  #at = 0;

  add(name: string, tone: Tone, length: number, meaning: string): void {
    this.fields.push({ name, tone, start: this.#at, end: this.#at + length, meaning });
    this.#at += length;
  }

  /** A sealed value, with the tag at its end. */
  sealedBody(total: number): Field[] {
    this.add(
      'Ciphertext',
      'sealed',
      total - TAG - this.#at,
      'the value, unreadable without the key',
    );
    this.add('Tag', 'tag', TAG, 'proves header, place and value');
    return this.fields;
  }

  /** A public value, with the tag before it. */
  publicBody(total: number): Field[] {
    this.add('Tag', 'tag', TAG, 'proves header, place and value');
    this.add('Value', 'clear', total - this.#at, 'public: readable by anyone');
    return this.fields;
  }
}

/** Keys and values alternate, each with a length of 16 bits. */
function contextText(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; at += 2 + view.getUint16(at)) {
    texts.push(
      new TextDecoder('utf-8', { ignoreBOM: true }).decode(
        bytes.subarray(at + 2, at + 2 + view.getUint16(at)),
      ),
    );
  }
  const pairs = texts.filter((_, i) => i % 2 === 0).map((key, i) => `${key} = ${texts[i * 2 + 1]}`);
  return pairs.join(', ') || 'empty';
}

/** Lower-case hexadecimal without spaces. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
