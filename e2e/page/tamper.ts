/** Alters records and keyset documents through raw IndexedDB, as an attacker with access to the disk could, and reports how the package reads them. */
import {
  type DataClassification,
  type EncryptedStorage,
  EncryptionService,
  createEncryptedStorage,
} from '@coffer-storage/coffer';
import { codeOf } from './check.js';
import {
  type RawRecord,
  getDocument,
  getRecord,
  deleteDocument,
  putDocument,
  putRecord,
} from './idb.js';

const NAME = 'record';
const VALUE = 'secret value';
const CONTEXT = { a: 'b' };
/** The offsets of a header's fields (SPEC.md section 3.1). The context ends at a record's nonce. */
const FIELDS = {
  use: [5, 6],
  class: [8, 9],
  type: [9, 10],
  'key id': [10, 42],
  salt: [42, 58],
  time: [58, 66],
} as const;

let databases = 0;

/** A fresh vault with one record in it. */
async function vault(masterKey: string, cls: DataClassification, minClass?: DataClassification) {
  const database = `tamper ${databases++}`;
  const storage = await createEncryptedStorage(database, 's', {
    unlock: { masterKey },
    ...(minClass ? { minClass } : {}),
  });
  await storage.setEncrypted(NAME, VALUE, cls, CONTEXT);
  const record = await getRecord(database, 's', NAME);
  const put = (r: unknown, name = NAME, store = 's') => putRecord(database, store, name, r);
  /** The code with which a record is refused in the place of the first. */
  const refusal = async (r: unknown) => (await put(r), codeOf(storage.getDecrypted(NAME)));
  return { database, storage, record, put, refusal };
}

const bodyOf = ({ body }: RawRecord) => new Uint8Array(body);
const same = (bytes: Uint8Array<ArrayBuffer>) => bytes.slice().buffer;

/** The codes for each byte of head and body, with its lowest and with its highest bit flipped. */
export async function flips(masterKey: string, cls: DataClassification) {
  const { storage, record, put, refusal } = await vault(masterKey, cls);
  const codes = { head: [] as string[][], body: [] as string[][] };
  for (const part of ['head', 'body'] as const) {
    const bytes = part === 'head' ? record.head : bodyOf(record);
    for (let i = 0; i < bytes.length; i++) {
      const each: string[] = [];
      for (const mask of [0x01, 0x80]) {
        const flipped = bytes.slice();
        flipped[i]! ^= mask;
        each.push(await refusal({ ...record, [part]: part === 'head' ? flipped : flipped.buffer }));
      }
      codes[part].push(each);
    }
  }
  await put(record);
  return { ...codes, value: await storage.getDecrypted(NAME) };
}

/** The codes for each shorter head and body, and for a byte more. */
export async function lengths(masterKey: string, cls: DataClassification) {
  const { record, refusal } = await vault(masterKey, cls);
  const { head } = record;
  const body = bodyOf(record);
  const [heads, bodies]: [string[], string[]] = [[], []];
  for (let n = 0; n < head.length; n++)
    heads.push(await refusal({ ...record, head: head.slice(0, n) }));
  for (let n = 0; n < body.length; n++)
    bodies.push(await refusal({ ...record, body: same(body.subarray(0, n)) }));
  const longer = (b: Uint8Array) => new Uint8Array([...b, 0]);
  const more = [
    await refusal({ ...record, head: longer(head) }),
    await refusal({ ...record, body: longer(body).buffer }),
  ];
  return { heads, bodies, more };
}

/** The codes for a record with each field of another session's, class's and type's record, and for that record itself. */
export async function swaps(masterKey: string) {
  const { database, record, refusal } = await vault(masterKey, 'phi');
  await new Promise((resolve) => setTimeout(resolve, 5)); // for another time
  const again = await createEncryptedStorage(database, 's', { unlock: { masterKey } }); // for another salt
  await again.setEncrypted('other', new TextEncoder().encode(VALUE), 'pii', { a: 'c' });
  const other = await getRecord(database, 's', 'other');
  const end = record.head.length - 12;
  const ranges = {
    ...FIELDS,
    context: [80, end],
    nonce: [end, end + 12],
    header: [0, end],
    head: [0, end + 12],
  } as const;
  const codes: Record<string, string> = {};
  const mix = (...fields: (keyof typeof ranges)[]) => {
    const head = record.head.slice();
    for (const [from, to] of fields.map((f) => ranges[f]))
      head.set(other.head.subarray(from, to), from);
    return head.every((x, i) => x === record.head[i]) ? undefined : { ...record, head };
  };
  for (const field of Object.keys(ranges) as (keyof typeof ranges)[]) {
    const mixed = mix(field);
    if (mixed) codes[field] = await refusal(mixed);
  }
  codes.body = await refusal({ ...record, body: other.body });
  codes['nonce and body'] = await refusal({ ...mix('nonce'), body: other.body });
  codes['class and key id'] = await refusal(mix('class', 'key id'));
  codes['class, key id and salt'] = await refusal(mix('class', 'key id', 'salt'));
  codes.all = await refusal(other);
  return codes;
}

/** The codes for a record under another name, in another store, in another vault; and in the same place, which opens. */
export async function moves(masterKey: string, otherKey: string) {
  const { database, storage, record, put } = await vault(masterKey, 'phi');
  await put(record, 'another');
  await put(record, '');
  await put(record, NAME, 'another');
  const next = await createEncryptedStorage(database, 'another', { unlock: { masterKey } });
  const other = await vault(otherKey, 'phi');
  return {
    name: await codeOf(storage.getDecrypted('another')),
    'empty name': await codeOf(storage.getDecrypted('')),
    store: await codeOf(next.getDecrypted(NAME)),
    vault: await other.refusal(record),
    many: await codeOf(storage.getMany([NAME, 'another'])),
    entries: await codeOf(drain(storage)),
    back: await storage.getDecrypted(NAME),
  };
}

async function drain(storage: EncryptedStorage): Promise<unknown> {
  const all = [];
  for await (const entry of storage.entries()) all.push(entry);
  return all;
}

/** The codes for a class that was lowered, and for a public record in the place of a sealed one. */
export async function forgeries(masterKey: string) {
  const { database, storage, record, put, refusal } = await vault(masterKey, 'phi');
  const demanding = await createEncryptedStorage(database, 's', {
    unlock: { masterKey },
    minClass: 'phi',
  });
  const codes: Record<string, unknown> = {};
  for (const cls of ['internal', 'pii'] as const) {
    await storage.setEncrypted('lower', VALUE, cls, CONTEXT);
    const lower = await getRecord(database, 's', 'lower');
    const lowered = record.head.slice();
    lowered[8] = lower.head[8]!;
    codes[`named ${cls}`] = await refusal({ ...record, head: lowered });
    codes[`named ${cls}, demanded`] = await codeOf(demanding.getDecrypted(NAME));
    lowered.set(lower.head.subarray(10, 42), 10);
    codes[`named ${cls}, with its key id`] = await refusal({ ...record, head: lowered });
  }
  await storage.setEncrypted('open', 'forged', 'public', CONTEXT);
  const open = await getRecord(database, 's', 'open');
  codes['a public record of another name'] = await refusal(open);
  const forged = open.head.slice();
  forged.set(crypto.getRandomValues(new Uint8Array(28)), forged.length - 28);
  codes['forged public'] = await refusal({ ...open, head: forged });
  forged.set(record.head.subarray(10, 42), 10);
  codes['forged public, with the key id of phi'] = await refusal({ ...open, head: forged });
  crypto.getRandomValues(forged.subarray(10, 42));
  codes['forged public, with a key id of its own'] = await refusal({ ...open, head: forged });
  // A record that was once stored here as public is authentic. Only a reader with a higher minClass refuses it.
  await storage.setEncrypted(NAME, 'once public', 'public');
  codes['once public'] = await storage.getDecrypted(NAME);
  codes['once public, phi demanded'] = await codeOf(demanding.getDecrypted(NAME));
  await put(record);
  codes.back = await demanding.getDecrypted(NAME);
  return codes;
}

/** The codes of getDecrypted, inspect and getPackage for values that are not records. */
export async function garbage(masterKey: string) {
  const { storage, record, put } = await vault(masterKey, 'phi');
  const { head, body } = record;
  const things: Record<string, unknown> = {
    null: null,
    zero: 0,
    true: true,
    text: VALUE,
    empty: {},
    list: [head, body],
    date: new Date(),
    map: new Map([['head', head]]),
    pattern: /head/,
    bytes: head,
    'no body': { head },
    'no head': { body },
    'head a list': { head: [...head], body },
    'head a buffer': { head: head.buffer, body },
    'head of words': { head: new Uint16Array(64), body },
    'body a text': { head, body: VALUE },
    'body a view': { head, body: new DataView(new ArrayBuffer(28)) },
    'body null': { head, body: null },
    'body of words': { head, body: new Uint16Array(32) },
    'both empty': { head: new Uint8Array(0), body: new ArrayBuffer(0) },
    'head of zeros': { head: new Uint8Array(1 << 20), body },
    'head a document': { head: new TextEncoder().encode('CFK\x01'), body },
  };
  const codes: Record<string, string[]> = {};
  for (const [name, thing] of Object.entries(things)) {
    await put(thing);
    codes[name] = await Promise.all([
      codeOf(storage.getDecrypted(NAME)),
      codeOf(storage.inspect(NAME)),
    ]);
  }
  return codes;
}

/** Flips each byte of the vault's document. Returns how often each code occurs, and for how many bytes the value still opens. */
export async function documentFlips(masterKey: string) {
  const { database, storage } = await vault(masterKey, 'phi');
  const document = await getDocument(database);
  const sealed = (await storage.getPackage(NAME)) as Uint8Array;
  const owner = new TextDecoder().decode(document.slice(8, 8 + document[7]!));
  const place = { owner, collection: 's', name: NAME };
  const open = (keyset: Uint8Array) =>
    new EncryptionService({ keyset, masterKey }).decrypt(sealed, { use: 'storage', place });
  const outcomes = await pooled([...document.keys()], async (i) => {
    const flipped = document.slice();
    flipped[i]! ^= 1;
    return codeOf(open(flipped));
  });
  const fromDisk: string[] = [];
  for (let i = 0; i < document.length; i += 23) {
    const flipped = document.slice();
    flipped[i]! ^= 1;
    await putDocument(database, flipped);
    const reopened = createEncryptedStorage(database, 's', { unlock: { masterKey } }).then(
      async (s) => s.getDecrypted(NAME).finally(() => s.close()),
    );
    fromDisk.push(await codeOf(reopened));
  }
  await putDocument(database, document);
  const garbage: string[] = [];
  for (const thing of [
    null,
    7,
    'document',
    {},
    document.buffer,
    new Uint8Array(0),
    document.slice(0, -1),
    new Uint16Array(64),
  ]) {
    await putDocument(database, thing);
    garbage.push(await codeOf(createEncryptedStorage(database, 's', { unlock: { masterKey } })));
  }
  // Without a document, a new vault is created, which opens no record of the old one.
  await deleteDocument(database);
  const anew = await createEncryptedStorage(database, 's', { unlock: { masterKey } });
  return {
    outcomes,
    fromDisk,
    garbage,
    gone: await codeOf(anew.getDecrypted(NAME)),
    size: document.length,
  };
}

/** Calls a function for all items, a few at a time. */
async function pooled<T, R>(all: T[], run: (t: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let i = 0; i < all.length; i += 16)
    results.push(...(await Promise.all(all.slice(i, i + 16).map(run))));
  return results;
}
