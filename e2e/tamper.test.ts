/** Records and the vault's document altered on the disk, in three browsers: refused with the right code, never a value, never a crash. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Page,
  type Server,
  type Session,
  chromium,
  firefox,
  webkit,
} from './harness/index.js';
import { bundle, call } from './page/bundle.js';
import { MASTER_KEY, servePackage } from './support.js';

const OTHER_KEY = Buffer.alloc(32, 'another master key for tests').toString('base64');
const HEADER = 80 + 6; // with the context {a: 'b'}
const [ALTERED, MALFORMED] = ['authentication_failed', 'malformed'];

/** The code for the byte of a head with its lowest, and with its highest bit flipped (SPEC.md sections 3.3 and 6.7). */
function headFlip(at: number): [string, string] {
  const both = (code: string): [string, string] => [code, code];
  if (at === 3) return both('unsupported_version');
  if (at < 8 || at === 9) return both(MALFORMED); // magic, algorithm, use, flags, source, type: none has such a value
  if (at === 8) return [ALTERED, MALFORMED]; // class: another one, or none
  if (at < 42) return both('unknown_key');
  if (at < 58) return both(ALTERED); // salt
  if (at < 60) return both(MALFORMED); // time after 9999
  if (at < 66) return both(ALTERED);
  if (at === 66) return both(MALFORMED); // revision from 2^53
  if (at === 67) return [ALTERED, MALFORMED];
  if (at < 74) return both(ALTERED);
  if (at < 80) return both(MALFORMED); // iterations of a keyset's package, and the context's length
  if (at === 82 || at === 85) return [ALTERED, MALFORMED]; // context: another text, or none in UTF-8
  if (at < HEADER) return both(MALFORMED); // lengths in it
  return both(ALTERED); // nonce, and a public value's tag
}

/** Public is the lowest class: if its lowest bit is flipped, the result is not a class. */
const publicFlip = (at: number): [string, string] =>
  at === 8 ? [MALFORMED, MALFORMED] : headFlip(at);

let server: Server;
beforeAll(async () => (server = await servePackage(await bundle('tamper'))));
afterAll(() => server.close());

describe.each([chromium, firefox, webkit])('tampering in $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session.close());
  const run = <T>(fn: string, ...args: unknown[]) =>
    call<T>(page, 'tamper', fn, MASTER_KEY, ...args);

  test.each([
    ['phi', HEADER + 12, 12 + 16, headFlip],
    ['public', HEADER + 12 + 16, 12, publicFlip],
  ] as const)('each byte flipped, of a record of class %s', async (cls, head, body, code) => {
    const codes = await run<{ head: string[][]; body: string[][]; value: string }>('flips', cls);
    expect(codes.head).toEqual(Array.from({ length: head }, (_, i) => code(i)));
    expect(codes.body).toEqual(Array(body).fill([ALTERED, ALTERED]));
    expect(codes.value).toBe('secret value');
  });

  test.each([
    ['phi', HEADER + 12, 12 + 16, 16],
    ['public', HEADER + 12 + 16, 12, 0],
  ] as const)(
    'bytes cut off and added, of a record of class %s',
    async (cls, head, body, shortest) => {
      const { heads, bodies, more } = await run<Record<string, string[]>>('lengths', cls);
      expect(heads).toEqual(Array(head).fill(MALFORMED));
      expect(bodies).toEqual(
        Array.from({ length: body }, (_, n) => (n < shortest ? MALFORMED : ALTERED)),
      );
      expect(more).toEqual([MALFORMED, ALTERED]);
    },
  );

  test('fields and records swapped', async () => {
    const names = [
      'class',
      'type',
      'key id',
      'salt',
      'time',
      'context',
      'nonce',
      'header',
      'head',
      'body',
      'nonce and body',
      'class and key id',
      'class, key id and salt',
      'all',
    ];
    expect(await run('swaps')).toEqual(Object.fromEntries(names.map((name) => [name, ALTERED])));
  });

  test('a record moved to another name, store and vault', async () => {
    expect(await run('moves', OTHER_KEY)).toEqual({
      name: ALTERED,
      'empty name': ALTERED,
      store: ALTERED,
      vault: 'unknown_key',
      many: ALTERED,
      entries: ALTERED,
      back: 'secret value',
    });
  });

  test('a class lowered, and public records in the place of a sealed one', async () => {
    const lowered = ['internal', 'pii'].flatMap((cls) => [
      [`named ${cls}`, ALTERED],
      [`named ${cls}, demanded`, 'class_too_low'],
      [`named ${cls}, with its key id`, ALTERED],
    ]);
    expect(await run('forgeries')).toEqual({
      ...Object.fromEntries(lowered),
      'a public record of another name': ALTERED,
      'forged public': ALTERED,
      'forged public, with the key id of phi': ALTERED,
      'forged public, with a key id of its own': 'unknown_key',
      'once public': 'once public',
      'once public, phi demanded': 'class_too_low',
      back: 'secret value',
    });
  });

  test('values that are not records', async () => {
    const codes = await run<Record<string, string[]>>('garbage');
    expect(Object.keys(codes).length).toBeGreaterThan(20);
    for (const [name, of] of Object.entries(codes)) {
      // inspect reads only the header, so it does not detect a missing part of the body
      expect(of, name).toEqual([MALFORMED, MALFORMED]);
    }
  });

  test('each byte of the vault’s document', async () => {
    const { outcomes, fromDisk, garbage, gone, size } = await run<
      { [K in 'outcomes' | 'fromDisk' | 'garbage']: string[] } & { gone: string; size: number }
    >('documentFlips');
    const opened = 'the value "secret value"';
    expect(outcomes.length).toBe(size);
    // Only the root id of a record that the value does not need can change unnoticed: the record is then under a root that nothing
    // opens, as if it were not there. These are the keys of the other four classes, and the primaries of all five.
    expect(outcomes.filter((o) => o === opened).length).toBe((4 + 5) * 32);
    expect(new Set(outcomes)).toEqual(
      new Set([opened, MALFORMED, 'unsupported_version', 'unknown_key', 'wrong_secret', ALTERED]),
    );
    expect(fromDisk).toEqual(outcomes.filter((_, i) => i % 23 === 0));
    expect(garbage).toEqual(Array(8).fill(MALFORMED));
    expect(gone).toBe('unknown_key');
  });
});
