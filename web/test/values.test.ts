/** Values as bytes and back: what goes in comes back equal and in its type, or is refused. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Core } from '../src/core.js';
import { CofferError } from '../src/errors.js';
import { decodeValue, encodeValue, readBlob } from '../src/values.js';
import { codeOf, core as loadCore } from './node.js';

let core: Core;
beforeAll(async () => (core = await loadCore()));

const encoded = async (value: unknown) => {
  const e = encodeValue(value);
  return e.blob ? readBlob(core, e) : e;
};
const back = async (value: unknown) => {
  const { type, bytes } = await encoded(value);
  return decodeValue(core, type, 0, bytes.slice()).value;
};
const [TEXT, BYTES, , JSON_TEXT, BLOB, FILE] = [1, 2, 3, 4, 5, 6] as const;

const bytes = fc.uint8Array({ maxLength: 100 }) as fc.Arbitrary<Uint8Array<ArrayBuffer>>;
const ascii = fc.string({ unit: 'grapheme-ascii', maxLength: 40 });

describe('round trips', () => {
  test('text, with every character', async () => {
    await fc.assert(fc.asyncProperty(fc.string({ unit: 'binary' }), async (s) => void expect(await back(s)).toBe(s)));
    for (const s of ['', '\ufeff', '\ufeffa', '\u0000', '\ufffd', 'e\u0301', '\u{10ffff}']) expect(await back(s)).toBe(s);
  });

  test('byte arrays and buffers', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, async (b) => {
        expect(await back(b)).toEqual(b);
        expect(await back(b.buffer)).toEqual(b.buffer);
        expect(await back(b.subarray(1))).toEqual(b.subarray(1));
      }),
    );
    const shared = new Uint8Array(new SharedArrayBuffer(3)).fill(7);
    expect(await back(shared)).toEqual(new Uint8Array([7, 7, 7]));
    expect([...((await back(Buffer.from('node'))) as Uint8Array)]).toEqual([...Buffer.from('node')]);
  });

  test('JSON', async () => {
    const json = fc.jsonValue().filter((v) => typeof v !== 'string');
    await fc.assert(fc.asyncProperty(json, async (v) => void expect(JSON.stringify(await back(v))).toBe(JSON.stringify(v))));
    expect(await back(Object.assign(Object.create(null), { a: 1 }))).toEqual({ a: 1 });
  });

  test('blobs and files', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, ascii, fc.string({ unit: 'binary', maxLength: 100 }), fc.integer({ min: -8e12, max: 8e12 }), async (b, type, name, lastModified) => {
        const blob = new Blob([b], { type });
        const gotBlob = (await back(blob)) as Blob;
        expect(gotBlob).not.toBeInstanceOf(File);
        expect([gotBlob.type, new Uint8Array(await gotBlob.arrayBuffer())]).toEqual([blob.type, b]);
        const gotFile = (await back(new File([b], name, { type, lastModified }))) as File;
        expect([gotFile.name, gotFile.type, gotFile.lastModified, new Uint8Array(await gotFile.arrayBuffer())]).toEqual([name, blob.type, lastModified, b]);
      }),
    );
  });

  test('the caller’s bytes are said to be borrowed, others are not', async () => {
    for (const [value, borrowed] of [[new Uint8Array(1), true], [new ArrayBuffer(1), true], ['text', false], [{}, false], [new Blob(['x']), false]] as const) {
      expect((await encodeValue(value)).borrowed).toBe(borrowed);
    }
  });
});

describe('refusals', () => {
  const circular: Record<string, unknown> = {};
  circular.self = circular;

  test.each([
    ['undefined', undefined], ['a function', () => 1], ['a symbol', Symbol('s')], ['a bigint', 10n], ['a date', new Date(0)], ['a map', new Map()],
    ['an object of a class', new (class A {})()], ['not a number', NaN], ['infinity', -Infinity], ['a lone surrogate', 'a\ud800'],
    ['a reversed pair', '\udc00\ud800'], ['a circle', circular], ['a bigint within', { a: 1n }], ['words', new Uint16Array(2)], ['a view', new DataView(new ArrayBuffer(2))],
    ['a blob within', { f: new Blob(['x']) }], ['a map within', [new Map()]], ['bytes within', { b: new Uint8Array(1) }], ['a date within', { d: new Date(0) }],
    ['not a number within', [NaN]], ['undefined in a list', [undefined]], ['a function within', { f: () => 1 }],
    ['a toJSON that throws', { toJSON: () => { throw new Error('no'); } }],
  ])('%s', async (_name, value) => expect(await codeOf(async () => encodeValue(value))).toBe('invalid_argument'));

  test('over 64 MiB', async () => {
    const large = new Uint8Array((64 << 20) + 1);
    for (const value of [large, large.buffer, 'x'.repeat(large.length), new Blob([large])]) {
      expect(await codeOf(async () => encodeValue(value))).toBe('too_large');
    }
    expect((await encodeValue(large.subarray(1))).bytes.length).toBe(64 << 20);
  });

  test('a file whose name is too long, or a media type', async () => {
    expect(await codeOf(async () => encoded(new File([], 'x'.repeat(1025))))).toBe('too_large');
    expect(await codeOf(async () => encoded(new Blob([], { type: 'x'.repeat(256) })))).toBe('too_large');
  });

  test('a plaintext that is not what its type says', async () => {
    const utf8 = [new Uint8Array([0xff]), new Uint8Array([0xed, 0xa0, 0x80]), new Uint8Array([0xc0, 0x80])];
    for (const b of utf8) for (const type of [TEXT, JSON_TEXT]) expect(await codeOf(() => decodeValue(core, type, 0, b))).toBe('malformed');
    for (const json of ['', '{', 'undefined', '\ufeff1', '1 2']) {
      expect(await codeOf(() => decodeValue(core, JSON_TEXT, 0, new Uint8Array(Buffer.from(json)))), json).toBe('malformed');
    }
    for (const type of [BLOB, FILE]) expect(await codeOf(() => decodeValue(core, type, 0, new Uint8Array(1)))).toBe('malformed');
  });

  test('any plaintext is a value or malformed', () => {
    const property = fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 3 }), bytes, (type, flags, b) => {
      try {
        decodeValue(core, type, flags, b.slice());
      } catch (error) {
        expect(error).toBeInstanceOf(CofferError);
        expect((error as CofferError).code).toBe('malformed');
      }
    });
    fc.assert(property, { numRuns: 500 });
  });

  test('a tombstone’s empty value is none', () => expect(decodeValue(core, BYTES, 1, new Uint8Array(0)).value).toBeNull());
});
