/** Packages that a browser seals open in Go with the same keyset, and vice versa: every class, value type and encoding. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Page,
  type Server,
  type Session,
  chromium,
  firefox,
  webkit,
} from './harness/index.js';
import { interop } from './interop/program.js';
import { bundle, call } from './page/bundle.js';
import type { Item, Sealed } from './page/interop.js';
import { MASTER_KEY, servePackage } from './support.js';

const CLASSES = ['public', 'internal', 'confidential', 'pii', 'phi'] as const;
const OWNER = 'Klinik Zürich';
const PASSWORD = 'correct horse Café'; // NFC in Go and here

const utf8 = (text: string) => new Uint8Array(Buffer.from(text));
const none = { mediaType: '', fileName: '', lastModified: 0, element: '' };
const VALUES = [
  { ...none, type: 'text', bytes: utf8('\ufeffhéllo \u{1f512} \u0000') },
  { ...none, type: 'bytes', bytes: new Uint8Array([0, 1, 254, 255]) },
  { ...none, type: 'buffer', bytes: new Uint8Array(0) },
  { ...none, type: 'json', bytes: utf8('{"a":[1,null,-0.5],"ü":{"__proto__":"x"}}') },
  { ...none, type: 'blob', bytes: utf8('<b>'), mediaType: 'text/html' },
  {
    ...none,
    type: 'view',
    bytes: new Uint8Array([0, 0, 128, 63, 0, 0, 0, 192]),
    element: 'Float32Array',
  },
  { ...none, type: 'view', bytes: new Uint8Array(3), element: 'DataView' },
  {
    ...none,
    type: 'file',
    bytes: new Uint8Array(3000).fill(7),
    mediaType: 'application/dicom',
    fileName: 'Röntgen \u202e.dcm',
    lastModified: -1,
  },
] as const;

/** An item for every class and value type, each in a place of its own. */
const items = (use: Item['use'], place: (name: string) => Item['place']): Item[] =>
  CLASSES.flatMap((cls) =>
    VALUES.map((value) => ({
      ...value,
      class: cls,
      use,
      context: { patient: 'Zoë', '': value.type },
      place: place(`${cls}/${value.type} ${value.element} ✓`),
    })),
  );

const inStore = items('storage', (name) => ({ owner: OWNER, collection: 'Akten', name }));
const handedOut = items('service', () => ({ owner: '', collection: '' }));
const elsewhere = (['cache', 'field', 'file'] as const).flatMap((use) =>
  items(use, (name) => ({ owner: OWNER, collection: `${use} of Go`, name })),
);

interface Answer {
  owner: string;
  sealed: Sealed[];
  opened: (Item & { code?: string })[];
}

/** Calls Go to seal the items, and to open those that the browser sealed. */
const exchange = (
  keys: { document?: string; secret: string },
  request: { seal?: Item[]; open?: unknown[] },
) => interop<Answer>('exchange', { ...keys, ...request });

/** The response expected of Go for items that it opened. */
const answered = (of: Item[]) =>
  of.map(({ bytes, ...item }) => ({ ...item, bytes: Buffer.from(bytes).toString('base64') }));

/** A package for Go to open, found in the item's place, in both encodings. */
const found = (item: Item, { binary, json }: Sealed) =>
  [binary ? { binary } : undefined, json ? { json } : undefined].flatMap((p) =>
    p ? [{ ...p, use: item.use, place: item.place }] : [],
  );

/** Go's response in the form that the page expects. */
const received = (sealed: Sealed[]) =>
  sealed.map(({ binary, json }) => ({
    binary: new Uint8Array(Buffer.from(binary as unknown as string, 'base64')),
    json,
  }));

let server: Server;
let made: { document: string; secret: string };
let shared: { document: string; secret: string };
beforeAll(async () => {
  server = await servePackage(await bundle('interop'));
  const request = { environment: 'test', owner: OWNER, kek: `base64key://${MASTER_KEY}` };
  made = {
    document: (await interop<{ made: string }>('keys', { ...request, password: MASTER_KEY })).made,
    secret: MASTER_KEY,
  };
  shared = {
    document: (await interop<{ shared: string }>('keys', { ...request, password: PASSWORD }))
      .shared,
    secret: PASSWORD.normalize('NFD'),
  };
});
afterAll(() => server.close());

describe.each([chromium, firefox, webkit])('Go and $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session.close());

  /** Test master keys are base64 and end with `=`; test passwords do not. */
  const secretOf = (text: string) =>
    text.endsWith('=') ? { masterKey: text } : { password: text };
  const unlock = (keys: { document: string; secret: string }) => ({
    keyset: keys.document,
    ...secretOf(keys.secret),
  });

  /** Sealed here and opened there, then the other way round, with one set of keys. */
  async function bothWays(
    of: Item[],
    here: unknown,
    there: { document?: string; secret: string },
  ): Promise<void> {
    const sealed = await call<Sealed[]>(page, 'interop', 'seal', here, of);
    const open = of.flatMap((item, i) => found(item, sealed[i] as Sealed));
    const answer = await exchange(there, { seal: of, open });
    expect(answer.opened).toEqual(answered(of).flatMap((item) => [item, item]));
    expect(await call(page, 'interop', 'open', here, of, received(answer.sealed))).toEqual([]);
  }

  test('packages of a service, under a tenant’s shared keys and a password', () =>
    bothWays(handedOut, unlock(shared), shared));

  test('packages of every use, in their places, under a document and a master key', () =>
    bothWays([...inStore, ...handedOut, ...elsewhere], unlock(made), made));

  test('records in IndexedDB, under both documents', async () => {
    for (const [database, keys] of [
      ['made', made],
      ['shared', shared],
    ] as const) {
      const stored = await call<Uint8Array[]>(
        page,
        'interop',
        'store',
        database,
        unlock(keys),
        inStore,
      );
      const open = inStore.map(({ use, place }, i) => ({ binary: stored[i], use, place }));
      const answer = await exchange(keys, { seal: inStore, open });
      expect(answer.owner).toBe(OWNER);
      expect(answer.opened).toEqual(answered(inStore));
      expect(
        await call(
          page,
          'interop',
          'load',
          database,
          unlock(keys),
          inStore,
          received(answer.sealed),
        ),
      ).toEqual([]);
    }
  });

  test('packages under a master key, and under a passphrase', async () => {
    await bothWays(handedOut, { masterKey: MASTER_KEY }, { secret: MASTER_KEY });
    await bothWays(handedOut, PASSWORD, { secret: PASSWORD.normalize('NFD') });
  });

  test('both refuse an invalid package with the same code', async () => {
    const of = handedOut.slice(0, 4);
    const { sealed } = await exchange({ secret: MASTER_KEY }, { seal: of });
    for (const [there, code] of [
      [{ secret: 'another' }, 'wrong_secret'],
      [{ secret: Buffer.alloc(32, 9).toString('base64') }, 'wrong_secret'],
      [made, 'unknown_key'],
    ] as const) {
      const here = 'document' in there ? unlock(there) : secretOf(there.secret);
      const expected = of.map(() => code);
      expect(await call(page, 'interop', 'codes', here, of, received(sealed))).toEqual(expected);
      const { opened } = await exchange(there, {
        open: of.map((item, i) => ({
          json: (sealed[i] as Sealed).json,
          use: item.use,
          place: item.place,
        })),
      });
      expect(opened.map((o) => o.code)).toEqual(expected);
    }
    const elsewhere = of.map((item) => ({ ...item, place: { owner: OWNER, collection: '' } }));
    expect(
      await call(page, 'interop', 'codes', { masterKey: MASTER_KEY }, elsewhere, received(sealed)),
    ).toEqual(of.map(() => 'authentication_failed'));
  });
});
