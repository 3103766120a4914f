/** Tests the layout of packages in the hex view with the vectors of the format. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fieldsOf } from './layout.js';
import { rowsOf, textRun } from './rows.js';
import { fieldAt, findText } from './search.js';

interface Vector {
  name: string;
  header: {
    algorithm: number;
    class: number;
    keyId: string;
    encryptedAt: number;
    context: Record<string, string> | null;
  };
  nonce: string;
  package: { hex: string; repeat?: string; length?: number; sha256?: string };
}

const file = new URL('../../../../shared/format/vectors/packages.json', import.meta.url);
const vectors = (JSON.parse(readFileSync(file, 'utf8')) as Vector[]).filter(
  ({ header, package: p }) => header.algorithm < 3 && !p.repeat && !p.sha256,
);

test('there are vectors of both algorithms', () => {
  expect(new Set(vectors.map(({ header }) => header.algorithm))).toEqual(new Set([1, 2]));
});

test.each(vectors.map((vector) => [vector.name, vector] as const))(
  '%s',
  (_, { header, nonce, package: { hex } }) => {
    const bytes = new Uint8Array(Buffer.from(hex, 'hex'));
    const fields = fieldsOf(bytes);
    let at = 0;
    for (const { start, end } of fields) {
      expect(start).toBe(at);
      at = end;
    }
    expect(at).toBe(bytes.length);
    const field = (name: string) => fields.find((f) => f.name === name)!;
    const content = (name: string) =>
      Buffer.from(bytes.subarray(field(name).start, field(name).end)).toString('hex');
    expect(content('Nonce')).toBe(nonce);
    expect(content('Key id')).toBe(header.keyId);
    expect(field('Class').meaning.toLowerCase()).toBe(
      ['', 'public', 'internal', 'confidential', 'pii', 'phi'][header.class],
    );
    expect(field('Sealed at').meaning).toBe(new Date(header.encryptedAt).toISOString());
    for (const [key, value] of Object.entries(header.context ?? {}))
      expect(field('Context').meaning).toContain(`${key} = ${value}`);
    expect(fields.some(({ name }) => name === 'Value')).toBe(header.algorithm === 2);
  },
);

const [first] = vectors.filter(({ header }) => header.algorithm === 1);
const small = new Uint8Array(Buffer.from(first!.package.hex, 'hex'));

test('rows hold every byte of a small package, in order', () => {
  const { rows, hidden } = rowsOf(small, fieldsOf(small), 16);
  expect(hidden).toBe(0);
  expect(Buffer.concat(rows.flatMap(({ runs }) => runs.map(({ bytes }) => bytes)))).toEqual(
    Buffer.from(small),
  );
});

test.each([8, 16])('rows of %i leave out the middle of a large one, and keep its end', (width) => {
  const large = new Uint8Array(5003);
  large.set(small.subarray(0, small.length - 16));
  const { rows, hidden } = rowsOf(large, fieldsOf(large), width);
  const shown = rows.flatMap(({ runs }) => runs).reduce((sum, { bytes }) => sum + bytes.length, 0);
  expect(shown + hidden).toBe(large.length);
  expect(rows.filter(({ afterGap }) => afterGap)).toHaveLength(1);
  expect(rows.at(-1)?.runs.at(-1)?.field.name).toBe('Tag');
  expect(
    rows
      .flatMap(({ runs }) => runs)
      .filter(({ field }) => field.name === 'Tag')
      .reduce((sum, { bytes }) => sum + bytes.length, 0),
  ).toBe(16);
});

test('text is found where it is, by its UTF-8 bytes', () => {
  const bytes = new TextEncoder().encode('aab né');
  expect([
    findText(bytes, 'ab'),
    findText(bytes, 'né'),
    findText(bytes, 'x'),
    findText(bytes, ''),
    findText(bytes, 'éx'),
  ]).toEqual([1, 4, -1, -1, -1]);
  expect(fieldAt(fieldsOf(small), 8)?.name).toBe('Class');
});

test('bytes that are no text are dots', () => {
  expect(textRun(Uint8Array.of(0x41, 0, 0x20, 0x7f, 0xe9))).toBe('A· ··');
});
