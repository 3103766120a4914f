/** Values are read back equal and in their type, or are refused. */
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Core } from '../src/core/core.js';
import { CofferError } from '../src/core/errors.js';
import { decodeValue, encodeValue, readBlob } from '../src/crypto/values.js';
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
const [TEXT, BYTES, , JSON_TEXT, BLOB, FILE, VIEW] = [1, 2, 3, 4, 5, 6, 7] as const;

const bytes = fc.uint8Array({ maxLength: 100 }) as fc.Arbitrary<Uint8Array<ArrayBuffer>>;
const ascii = fc.string({ unit: 'grapheme-ascii', maxLength: 40 });

describe('round trips', () => {
  test('text, with every character', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary' }),
        async (s) => void expect(await back(s)).toBe(s),
      ),
    );
    for (const s of ['', '\ufeff', '\ufeffa', '\u0000', '\ufffd', 'e\u0301', '\u{10ffff}'])
      expect(await back(s)).toBe(s);
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
    expect([...((await back(Buffer.from('node'))) as Uint8Array)]).toEqual([
      ...Buffer.from('node'),
    ]);
  });

  test('JSON', async () => {
    const json = fc.jsonValue().filter((v) => typeof v !== 'string');
    await fc.assert(
      fc.asyncProperty(
        json,
        async (v) => void expect(JSON.stringify(await back(v))).toBe(JSON.stringify(v)),
      ),
    );
    expect(await back(Object.assign(Object.create(null), { a: 1 }))).toEqual({ a: 1 });
  });

  test('JSON with a negative zero, and text that looks like one', async () => {
    const value = { zeros: [-0, 0, { x: -0 }], '-0': ['-0', '"-0"', '0'] };
    const got = (await back(value)) as typeof value;
    expect(got).toStrictEqual(value); // by Object.is
    expect(await back(-0)).toBe(-0);
    expect(await back(0)).toBe(0);
  });

  test('JSON of another realm, without members that are undefined or hidden symbols', async () => {
    expect(await back(runInNewContext('({ a: [1, { b: null }] })'))).toEqual({
      a: [1, { b: null }],
    });
    expect(await back({ a: 1, b: undefined })).toStrictEqual({ a: 1 });
    const observed = [{}, []].map((v) =>
      Object.defineProperty(v, Symbol('framework'), { value: 1, enumerable: false }),
    );
    expect(await back(observed)).toStrictEqual([{}, []]);
    expect(await back(JSON.parse('{"__proto__": {"x": 1}}'))).toEqual(
      JSON.parse('{"__proto__": {"x": 1}}'),
    );
  });

  test.each([
    new Int8Array([-1, 0, 127]),
    new Uint8ClampedArray([0, 255]),
    new Int16Array([-32768, 1]),
    new Uint16Array([65535]),
    new Int32Array([-1, 2]),
    new Uint32Array([4294967295]),
    new BigInt64Array([-1n]),
    new BigUint64Array([2n ** 64n - 1n]),
    new Float32Array([0.5, -0, NaN, Infinity]),
    new Float64Array([Math.PI]),
    new Float64Array(0),
    new DataView(new Uint8Array([1, 2, 3, 4, 5]).buffer, 1, 3),
  ])('$constructor.name', async (view) => {
    const got = (await back(view)) as typeof view;
    expect(Object.prototype.toString.call(got)).toBe(Object.prototype.toString.call(view));
    const bytesOf = (v: ArrayBufferView) => [
      ...new Uint8Array(v.buffer, v.byteOffset, v.byteLength),
    ];
    expect(bytesOf(got)).toEqual(bytesOf(view));
    expect(got.buffer.byteLength).toBe(view.byteLength);
  });

  test('a part of an array, and a resizable buffer', async () => {
    expect(await back(new Float32Array([1, 2, 3]).subarray(1, 2))).toEqual(new Float32Array([2]));
    const resizable = new (ArrayBuffer as unknown as new (n: number, o: object) => ArrayBuffer)(4, {
      maxByteLength: 64,
    });
    new Uint8Array(resizable).set([1, 2, 3, 4]);
    expect(await back(new Uint16Array(resizable))).toEqual(new Uint16Array([0x201, 0x403]));
    expect(await back(new Uint8Array(resizable))).toEqual(new Uint8Array([1, 2, 3, 4]));
    expect(await back(resizable)).toEqual(new Uint8Array([1, 2, 3, 4]).buffer);
  });

  test('bytes of another realm', async () => {
    const there = (code: string): unknown => runInNewContext(code);
    expect(await back(there('new Uint8Array([1, 2])'))).toEqual(new Uint8Array([1, 2]));
    expect(await back(there('new Uint8Array([1, 2]).buffer'))).toEqual(
      new Uint8Array([1, 2]).buffer,
    );
    expect(await back(there('new Float32Array([1])'))).toEqual(new Float32Array([1]));
  });

  test('padded values, and sealed names and contexts', () => {
    const plaintext = (...parts: (string | number[])[]) =>
      new Uint8Array(Buffer.concat(parts.map((p) => Buffer.from(p as string))));
    expect(decodeValue(core, TEXT, 4, plaintext('text', [0x80, 0, 0]))).toEqual({ value: 'text' });
    expect(decodeValue(core, TEXT, 4, plaintext('', [0x80]))).toEqual({ value: '' });
    expect(decodeValue(core, BYTES, 4, plaintext([0x80, 0x80, 0]))).toEqual({
      value: new Uint8Array([0x80]),
    });
    expect(decodeValue(core, TEXT, 8, plaintext([0, 1], 'n', 'text'))).toEqual({
      value: 'text',
      name: 'n',
    });
    expect(decodeValue(core, TEXT, 14, plaintext([0, 0], [0, 1], 'n', 'text', [0x80, 0]))).toEqual({
      value: 'text',
      name: 'n',
      context: {},
    });
    expect(decodeValue(core, BYTES, 13, plaintext([0, 1], 'n', [0x80, 0]))).toEqual({
      value: null,
      name: 'n',
    });
    expect(decodeValue(core, VIEW, 4, plaintext([5, 1, 0, 0x80, 0]))).toEqual({
      value: new Uint16Array([1]),
    });
  });

  test('blobs and files', async () => {
    await fc.assert(
      fc.asyncProperty(
        bytes,
        ascii,
        fc.string({ unit: 'binary', maxLength: 100 }),
        fc.integer({ min: -8e12, max: 8e12 }),
        async (b, type, name, lastModified) => {
          const blob = new Blob([b], { type });
          const gotBlob = (await back(blob)) as Blob;
          expect(gotBlob).not.toBeInstanceOf(File);
          expect([gotBlob.type, new Uint8Array(await gotBlob.arrayBuffer())]).toEqual([
            blob.type,
            b,
          ]);
          const gotFile = (await back(new File([b], name, { type, lastModified }))) as File;
          expect([
            gotFile.name,
            gotFile.type,
            gotFile.lastModified,
            new Uint8Array(await gotFile.arrayBuffer()),
          ]).toEqual([name, blob.type, lastModified, b]);
        },
      ),
    );
  });

  test('only the caller’s bytes are marked as borrowed', async () => {
    for (const [value, borrowed] of [
      [new Uint8Array(1), true],
      [new ArrayBuffer(1), true],
      ['text', false],
      [{}, false],
      [new Blob(['x']), false],
    ] as const) {
      expect((await encodeValue(value)).borrowed).toBe(borrowed);
    }
  });
});

describe('refusals', () => {
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  let deep: unknown = 1;
  for (let i = 0; i < 100_000; i++) deep = i % 2 ? [deep] : { deep };
  const hidden = (value: object) =>
    Object.defineProperty(value, 'b', { value: 2, enumerable: false });

  test.each([
    ['undefined', undefined],
    ['a function', () => 1],
    ['a symbol', Symbol('s')],
    ['a bigint', 10n],
    ['a date', new Date(0)],
    ['a map', new Map()],
    ['an object of a class', new (class A {})()],
    ['not a number', NaN],
    ['infinity', -Infinity],
    ['a lone surrogate', 'a\ud800'],
    ['a reversed pair', '\udc00\ud800'],
    ['a circle', circular],
    ['a bigint within', { a: 1n }],
    [
      'an array of a class of its own',
      Object.defineProperty(new Uint16Array(2), Symbol.toStringTag, { value: 'Words' }),
    ],
    ['a blob within', { f: new Blob(['x']) }],
    ['a map within', [new Map()]],
    ['bytes within', { b: new Uint8Array(1) }],
    ['a date within', { d: new Date(0) }],
    ['not a number within', [NaN]],
    ['undefined in a list', [undefined]],
    ['a function within', { f: () => 1 }],
    ['a hole', [1, , 3]],
    ['holes only', new Array(3)],
    ['a hole within', { list: [, 1] }],
    ['a hole and a name', Object.assign([1, , 3], { total: 3 })],
    ['a list with names', Object.assign([1, 2], { total: 3 })],
    ['a match', 'a-b'.match(/(a)-(b)/)],
    ['a list with a hidden name', hidden([1])],
    ['a list of a class', class List extends Array {}.from([1])],
    ['a list with a symbol', Object.assign([1], { [Symbol('s')]: 1 })],
    ['a symbol as a name', { a: 1, [Symbol('s')]: 2 }],
    ['a hidden name', hidden({ a: 1 })],
    ['a hidden name within', [hidden({ a: 1 })]],
    [
      'inherited members',
      Object.create(Object.create(null, { a: { value: 1, enumerable: true } })),
    ],
    ['nested too deep', deep],
    [
      'a toJSON that throws',
      {
        toJSON: () => {
          throw new Error('no');
        },
      },
    ],
  ])('%s', async (_name, value) =>
    expect(await codeOf(async () => encodeValue(value))).toBe('invalid_argument'),
  );

  test.each([
    ['bytes', new Uint8Array([1, 2, 3])],
    ['a part', new Uint8Array([1, 2, 3]).subarray(1)],
    ['numbers', new Float32Array(1)],
    ['a view', new DataView(new ArrayBuffer(8))],
  ])('a detached buffer: %s', async (_name, view) => {
    const { buffer } = view;
    structuredClone(buffer, { transfer: [buffer] });
    for (const value of [view, buffer])
      expect(await codeOf(async () => encodeValue(value))).toBe('invalid_argument');
  });

  test('over 64 MiB', async () => {
    const large = new Uint8Array((64 << 20) + 1);
    for (const value of [large, large.buffer, 'x'.repeat(large.length), new Blob([large])]) {
      expect(await codeOf(async () => encodeValue(value))).toBe('too_large');
    }
    expect((await encodeValue(large.subarray(1))).bytes.length).toBe(64 << 20);
  });

  test('a file whose name is too long, or a media type', async () => {
    expect(await codeOf(async () => encoded(new File([], 'x'.repeat(1025))))).toBe('too_large');
    expect(await codeOf(async () => encoded(new Blob([], { type: 'x'.repeat(256) })))).toBe(
      'too_large',
    );
  });

  test('a plaintext that does not match its type', async () => {
    const utf8 = [
      new Uint8Array([0xff]),
      new Uint8Array([0xed, 0xa0, 0x80]),
      new Uint8Array([0xc0, 0x80]),
    ];
    for (const b of utf8)
      for (const type of [TEXT, JSON_TEXT])
        expect(await codeOf(() => decodeValue(core, type, 0, b))).toBe('malformed');
    for (const json of ['', '{', 'undefined', '\ufeff1', '1 2']) {
      expect(
        await codeOf(() => decodeValue(core, JSON_TEXT, 0, new Uint8Array(Buffer.from(json)))),
        json,
      ).toBe('malformed');
    }
    for (const type of [BLOB, FILE])
      expect(await codeOf(() => decodeValue(core, type, 0, new Uint8Array(1)))).toBe('malformed');
    for (const view of [[], [0], [13], [255], [4, 0], [7, 1, 2, 3]])
      expect(
        await codeOf(() => decodeValue(core, VIEW, 0, new Uint8Array(view))),
        String(view),
      ).toBe('malformed');
    for (const padded of [[], [0], [1, 0], [0x81, 0], [0x80, 1]])
      expect(
        await codeOf(() => decodeValue(core, BYTES, 4, new Uint8Array(padded))),
        String(padded),
      ).toBe('malformed');
    for (const name of [
      [],
      [0],
      [0, 2, 97],
      [0, 1, 0xff],
      [4, 1, ...new Array<number>(1025).fill(97)],
    ])
      expect(await codeOf(() => decodeValue(core, BYTES, 8, new Uint8Array(name)))).toBe(
        'malformed',
      );
    expect(await codeOf(() => decodeValue(core, BYTES, 5, new Uint8Array([1, 0x80])))).toBe(
      'malformed',
    );
    expect(await codeOf(() => decodeValue(core, BYTES, 0, new Uint8Array((64 << 20) + 1)))).toBe(
      'malformed',
    );
  });

  test('any plaintext is a value or malformed', () => {
    const refusals =
      'Float16Array' in globalThis ? ['malformed'] : ['malformed', 'unsupported_version']; // Node 22 has no such class
    const property = fc.property(
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 0, max: 15 }),
      bytes,
      (type, flags, b) => {
        try {
          decodeValue(core, type, flags, b.slice());
        } catch (error) {
          expect(error).toBeInstanceOf(CofferError);
          expect(refusals).toContain((error as CofferError).code);
        }
      },
    );
    fc.assert(property, { numRuns: 500 });
  });

  test('a tombstone’s empty value is not a value', () =>
    expect(decodeValue(core, BYTES, 1, new Uint8Array(0)).value).toBeNull());
});
