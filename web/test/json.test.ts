/** The JSON form: lossless both ways, and as strict as Go's; its table of refusals is the vectors'. */
import { toBase64 } from '../src/core/base64.js';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Core } from '../src/core/core.js';
import { CofferError } from '../src/core/errors.js';
import {
  type Metadata,
  algorithms,
  headExtra,
  joinParts,
  readHeader,
  splitParts,
  types,
  uses,
  writeHeader,
} from '../src/crypto/header.js';
import { type EncryptedPackage, packageFromJson, packageToJson } from '../src/crypto/json.js';
import { classes } from '../src/core/classification.js';
import { codeOf, core as loadCore, vectors } from './node.js';

let core: Core;
beforeAll(async () => (core = await loadCore()));

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }) as fc.Arbitrary<Uint8Array<ArrayBuffer>>;
const text = fc.string({ unit: 'binary', maxLength: 40 });
const hex = bytes(32).map((b) => Buffer.from(b).toString('hex'));

/** Headers that keep the rules of SPEC.md section 3.3. */
const metadata: fc.Arbitrary<Metadata> = fc
  .record({
    algorithm: fc.constantFrom(...algorithms.slice(1)),
    classification: fc.constantFrom(...classes),
    use: fc.constantFrom(...uses.slice(1)) as fc.Arbitrary<Metadata['use']>,
    keySource: fc.constantFrom('keyset', 'passphrase', 'master-key') as fc.Arbitrary<
      Metadata['keySource']
    >,
    keyId: hex,
    valueType: fc.constantFrom(...types.slice(1)),
    encryptedAt: fc.integer({ min: 0, max: 253402300799999 }).map((ms) => new Date(ms)),
    revision: fc.maxSafeNat(),
    context: fc.dictionary(text, text, { maxKeys: 8 }),
    iterations: fc.integer({ min: 1, max: 0xffffffff }),
    tombstone: fc.boolean(),
    sealedContext: fc.boolean(),
    padded: fc.boolean(),
    sealedName: fc.boolean(),
  })
  .map(({ iterations, ...m }) => {
    const plain = {
      ...m,
      version: '1.0' as const,
      ...(m.keySource === 'passphrase' ? { iterations } : {}),
      context: { ...m.context },
    };
    if (m.algorithm === 'AES-256-GMAC')
      Object.assign(plain, {
        classification: 'public',
        tombstone: false,
        sealedContext: false,
        padded: false,
        sealedName: false,
      });
    if (plain.tombstone) Object.assign(plain, { algorithm: 'AES-256-GCM', valueType: 'bytes' });
    if (plain.sealedContext) plain.context = {};
    return plain;
  });

/** The length of a body that can follow such a header: a chunked one has 56 bytes and whole chunks before the last. */
function bodyLength(m: Metadata, n: number): number {
  if (m.tombstone) return m.sealedContext || m.padded || m.sealedName ? 28 + n : 28;
  return m.algorithm === 'Cobblestone-256' ? 72 + n : 28 + n;
}

const sealed = fc
  .tuple(metadata, bytes(16), fc.nat({ max: 300 }))
  .chain(([m, salt, n]) => bytes(bodyLength(m, n)).map((body) => ({ m, salt, body })));

const binary = ({ m, salt, body }: { m: Metadata; salt: Uint8Array; body: Uint8Array }) =>
  new Uint8Array([...writeHeader(core, m, salt), ...body]);

describe('round trips', () => {
  test('a header reads as what was written', () => {
    fc.assert(
      fc.property(
        metadata,
        bytes(16),
        (m, salt) => void expect(readHeader(writeHeader(core, m, salt))).toEqual(m),
      ),
    );
  });

  test('a package is the same after JSON, its text and back', () => {
    const property = fc.property(sealed, (s) => {
      const before = binary(s);
      const parts = splitParts(core, before);
      expect(parts.head.length).toBe(
        before.length - s.body.length + headExtra(algorithms.indexOf(s.m.algorithm)),
      );
      const json = packageToJson(core, parts);
      const after = packageFromJson(core, JSON.parse(JSON.stringify(json)));
      expect(Buffer.from(joinParts(after)).equals(before)).toBe(true);
      expect(after.head.length).toBe(parts.head.length);
      expect(packageToJson(core, after)).toEqual(json);
    });
    fc.assert(property, { numRuns: 300 });
  });

  test('base64 is that of RFC 4648', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 100 }),
        (b) => void expect(toBase64(b)).toBe(Buffer.from(b).toString('base64')),
      ),
    );
    const large = new Uint8Array(100_003).map((_, i) => i);
    expect(toBase64(large)).toBe(Buffer.from(large).toString('base64'));
  });
});

describe('strictness', () => {
  test('every text of the vectors is refused with its code', async () => {
    const { json } = vectors<{
      json: { name: string; text?: string; hex?: string; code: string }[];
    }>('invalid');
    expect(json.length).toBeGreaterThan(100);
    for (const v of json) {
      let value: unknown;
      try {
        value = JSON.parse(
          v.text ??
            new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(v.hex ?? '', 'hex')),
        );
      } catch {
        expect(v.code, v.name).toBe('malformed'); // no JSON, or no UTF-8
        continue;
      }
      expect(await codeOf(() => packageFromJson(core, value)), v.name).toBe(v.code);
    }
  });

  test('every variant of the vectors reads as its package', () => {
    for (const v of vectors<{ name: string; text: string; package: string }[]>('variants')) {
      expect(
        Buffer.from(joinParts(packageFromJson(core, JSON.parse(v.text)))).toString('hex'),
        v.name,
      ).toBe(v.package);
    }
  });

  const refusal = (value: unknown) => {
    try {
      packageFromJson(core, value);
    } catch (error) {
      expect(error).toBeInstanceOf(CofferError);
      return (error as CofferError).code;
    }
    return 'accepted';
  };

  test('a member that is missing, renamed, added or of another type is malformed', () => {
    const property = fc.property(
      sealed,
      fc.nat(),
      fc.constantFrom('missing', 'renamed', 'added', 'null', 'typed'),
      (s, at, how) => {
        const { ciphertext, metadata } = packageToJson(core, splitParts(core, binary(s)));
        const all: Record<string, unknown> = { ciphertext, ...metadata };
        const name = Object.keys(all)[at % Object.keys(all).length]!;
        const value = all[name];
        if (how !== 'added' && how !== 'null' && how !== 'typed') delete all[name];
        if (how === 'renamed') all[name.toUpperCase()] = value;
        if (how === 'added') all[`${name}x`] = value;
        if (how === 'null') all[name] = null;
        if (how === 'typed') all[name] = [value];
        const { ciphertext: c, ...m } = all;
        // A flag that is not set is left out.
        const fine =
          how === 'missing' &&
          ['tombstone', 'sealedContext', 'padded', 'sealedName'].includes(name);
        const changed = { ...('ciphertext' in all ? { ciphertext: c } : {}), metadata: m };
        if (!fine) expect(refusal(changed)).toBe('malformed');
      },
    );
    fc.assert(property, { numRuns: 300 });
  });

  test('any input is a package or a typed error', () => {
    fc.assert(
      fc.property(
        fc.anything(),
        (value) => void expect(['malformed', 'unsupported_version']).toContain(refusal(value)),
      ),
    );
    const metadataLike = fc.record({
      ciphertext: fc.base64String(),
      metadata: fc.dictionary(
        fc.constantFrom('version', 'iv', 'salt', 'context', 'use'),
        fc.anything(),
      ),
    });
    fc.assert(
      fc.property(
        metadataLike,
        (value) => void expect(['malformed', 'unsupported_version']).toContain(refusal(value)),
      ),
    );
  });

  test('a getter or an inherited member is not taken for one', () => {
    const json = packageToJson(
      core,
      splitParts(
        core,
        Buffer.from(
          vectors<{ package: string }[]>('variants')[0]!.package,
          'hex',
        ) as unknown as Uint8Array<ArrayBuffer>,
      ),
    );
    expect(refusal(json)).toBe('accepted');
    expect(refusal(Object.create(json))).toBe('malformed');
    expect(refusal({ ...json, metadata: Object.create(json.metadata) } as EncryptedPackage)).toBe(
      'malformed',
    );
  });
});
