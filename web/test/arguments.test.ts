/** Arguments of untyped JavaScript callers of coffer/client are refused before anything is sent, or sent without loss. */
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { CofferClient } from '../src/client/client.js';

const headers = { 'X-Request-Id': 'planned', ETag: '"e"' };

/** A client whose requests are recorded, and answered as a server answers a write. */
function recorder(options: Record<string, unknown> = {}, baseUrl: unknown = 'http://localhost') {
  const sent: { url: string; init: RequestInit }[] = [];
  const fetch = (url: string, init: RequestInit) => {
    sent.push({ url, init });
    return Promise.resolve(new Response(null, { status: 204, headers }));
  };
  return {
    sent,
    client: new CofferClient(baseUrl as string, { fetch, ...options } as object) as any,
  };
}

const detached = () => {
  const buffer = new ArrayBuffer(4);
  const view = new Uint8Array(buffer);
  structuredClone(buffer, { transfer: [buffer] });
  return { buffer, view };
};
const outOfBounds = () => {
  const buffer = new (ArrayBuffer as any)(8, { maxByteLength: 8 });
  const views = {
    bytes: new Uint8Array(buffer, 4, 4),
    floats: new Float32Array(buffer, 4, 1),
    view: new DataView(buffer, 4),
  };
  buffer.resize(2);
  return views;
};
const cycle: Record<string, unknown> = {};
cycle.self = cycle;
let deep: unknown = {};
for (let i = 0; i < 100_000; i++) deep = { deep };

/** None of these is text or bytes, or it cannot be read. */
const badValues: Record<string, unknown> = {
  object: { a: 1 },
  list: [1, 2],
  number: 5,
  bigint: 5n,
  map: new Map([[1, 2]]),
  date: new Date(0),
  null: null,
  undefined,
  true: true,
  symbol: Symbol('s'),
  function: () => 'x',
  'String object': new String('x'),
  'lone surrogate': 'a\ud800',
  FormData: new FormData(),
  URLSearchParams: new URLSearchParams('a=b'),
  ReadableStream: new ReadableStream(),
  'detached buffer': detached().buffer,
  'view of a detached buffer': detached().view,
  'bytes out of bounds': outOfBounds().bytes,
  'floats out of bounds': outOfBounds().floats,
  'view out of bounds': outOfBounds().view,
  'Blob of another realm': {
    [Symbol.toStringTag]: 'Blob',
    size: 1,
    arrayBuffer: () => Promise.resolve(new ArrayBuffer(1)),
  },
};
const phi = { class: 'phi' };
const badOptions: Record<string, Record<string, unknown>> = {
  'no class': {},
  'unknown class': { class: 'secret' },
  'class of another case': { class: 'PHI' },
  'misspelled name': { class: 'phi', TTL: 60 },
  'ttl 0': { class: 'phi', ttl: 0 },
  'ttl NaN': { class: 'phi', ttl: NaN },
  'ttl fraction': { class: 'phi', ttl: 1.5 },
  'ttl negative': { class: 'phi', ttl: -1 },
  'ttl infinite': { class: 'phi', ttl: Infinity },
  'ttl above 2^53': { class: 'phi', ttl: 1e21 },
  'ttl empty': { class: 'phi', ttl: '' },
  'ttl null': { class: 'phi', ttl: null },
  'ttl Date': { class: 'phi', ttl: new Date() },
  'context of numbers': { class: 'phi', context: { a: 1 } },
  'context of undefined': { class: 'phi', context: { a: undefined } },
  'context Map': { class: 'phi', context: new Map([['a', 'b']]) },
  'context list': { class: 'phi', context: ['a'] },
  'context null': { class: 'phi', context: null },
  'context text': { class: 'phi', context: 'a' },
  'context with a lone surrogate': { class: 'phi', context: { a: '\ud800' } },
  'name with a lone surrogate': { class: 'phi', context: { '\udc00': 'a' } },
  'contentType outside ASCII': { class: 'phi', contentType: 'text/plain; name=\u0142' },
  'contentType of two lines': { class: 'phi', contentType: 'a\nb' },
  'contentType number': { class: 'phi', contentType: 5 },
};

/** Calls that are mistakes, by name; each takes a client without types. */
const mistakes: Record<string, (c: any) => Promise<unknown>> = {
  ...Object.fromEntries(
    Object.entries(badValues).flatMap(([name, value]) => [
      [`set ${name}`, (c: any) => c.set('k', value, phi)],
      [`batch ${name}`, (c: any) => c.batch([{ op: 'set', key: 'k', value, ...phi }])],
      [`encrypt ${name}`, (c: any) => c.encrypt({ value, ...phi })],
      [`encryptBatch ${name}`, (c: any) => c.encryptBatch([{ value, ...phi }])],
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(badOptions).flatMap(([name, options]) => [
      [`set with ${name}`, (c: any) => c.set('k', 'v', options)],
      [
        `batch with ${name}`,
        (c: any) => c.batch([{ op: 'set', key: 'k', value: 'v', ...options }]),
      ],
    ]),
  ),
  ...Object.fromEntries(
    Object.entries({
      missing: undefined,
      empty: '',
      number: 5,
      null: null,
      object: {},
      'lone surrogate': '\ud800',
    }).flatMap(([name, key]) => [
      [`get, key ${name}`, (c: any) => c.get(key)],
      [`getStream, key ${name}`, (c: any) => c.getStream(key)],
      [`head, key ${name}`, (c: any) => c.head(key)],
      [`set, key ${name}`, (c: any) => c.set(key, 'v', phi)],
      [`expire, key ${name}`, (c: any) => c.expire(key, 60)],
      [`delete, key ${name}`, (c: any) => c.delete(key)],
      [`batch, key ${name}`, (c: any) => c.batch([{ op: 'get', key }])],
      [`getSession, id ${name}`, (c: any) => c.getSession(key)],
      [`endSession, id ${name}`, (c: any) => c.endSession(key)],
      [`extendSession, id ${name}`, (c: any) => c.extendSession(key, 60)],
      [`shredTenant ${name}`, (c: any) => c.shredTenant(key)],
    ]),
  ),
  ...Object.fromEntries(
    Object.entries({ 'a line break': '"a\nb"', 'no text': '', 'a number': 1, null: null }).flatMap(
      ([name, etag]) => [
        [`set if the ETag is ${name}`, (c: any) => c.set('k', 'v', { ...phi, ifMatch: etag })],
        [`set if no ETag is ${name}`, (c: any) => c.set('k', 'v', { ...phi, ifNoneMatch: etag })],
        [`get if the ETag is ${name}`, (c: any) => c.get('k', { ifMatch: etag })],
        [`get if no ETag is ${name}`, (c: any) => c.get('k', { ifNoneMatch: etag })],
        [`expire if the ETag is ${name}`, (c: any) => c.expire('k', 60, { ifMatch: etag })],
        [`delete if the ETag is ${name}`, (c: any) => c.delete('k', { ifMatch: etag })],
      ],
    ),
  ),
  'set without options': (c) => c.set('k', 'v'),
  'set with an ETag where only * is possible': (c) =>
    c.set('k', 'v', { ...phi, ifNoneMatch: '"e"' }),
  'the key .': (c) => c.get('.'),
  'a controller as the signal': (c) => c.get('k', { signal: new AbortController() }),
  'options that are a text': (c) => c.get('k', 'phi'),
  'options that are null': (c) => c.delete('k', null),
  'a misspelled option of a read': (c) => c.get('k', { atLeast: 'phi' }),
  'a misspelled option of a call without others': (c) => c.live({ timeout: 5 }),
  'least of no class': (c) => c.get('k', { least: '' }),
  'decrypt, least of no class': (c) => c.decrypt({}, { least: 'secret' }),
  'decrypt a text': (c) => c.decrypt('{}'),
  'decrypt nothing': (c) => c.decrypt(undefined),
  'decrypt bytes': (c) => c.decrypt(new Uint8Array(100)),
  'decryptBatch of one package': (c) => c.decryptBatch({}),
  'batch of one operation': (c) => c.batch({ op: 'get', key: 'k' }),
  'batch of nothing': (c) => c.batch(),
  'batch with a hole': (c) => c.batch([undefined]),
  'batch of an operation that does not exist': (c) => c.batch([{ op: 'toString', key: 'k' }]),
  'batch with a misspelled member': (c) => c.batch([{ op: 'delete', key: 'k', ifMatch: '"e"' }]),
  'encrypt nothing': (c) => c.encrypt(),
  'encryptBatch of one value': (c) => c.encryptBatch({ value: 'v', ...phi }),
  'list of a page of 0': (c) => c.list({ pageSize: 0 }).next(),
  'list of a page of 1,001': (c) => c.list({ pageSize: 1001 }).next(),
  'list of a page of NaN': (c) => c.list({ pageSize: NaN }).next(),
  'list with a prefix that is a number': (c) => c.list({ prefix: 5 }).next(),
  'events since an invalid Date': (c) => c.events({ since: new Date(NaN) }).next(),
  'events since a text': (c) => c.events({ since: '2026-01-01' }).next(),
  'keysets of an empty tenant': (c) => c.keysets({ tenant: '' }).next(),
  'rotate as compromised by a text': (c) => c.rotate({ compromised: 'false' }),
  'rotate an unknown class': (c) => c.rotate({ class: 'all' }),
  'disable a key without a tenant': (c) => c.disableKey({ use: 'cache', class: 'phi', key: 'a' }),
  'a session of a list': (c) => c.createSession([1]),
  'a session of nothing': (c) => c.createSession(),
  'a session with a Date': (c) => c.createSession({ at: new Date() }),
  'a session with a Map': (c) => c.createSession({ map: new Map() }),
  'a session with NaN': (c) => c.createSession({ n: NaN }),
  'a session with a bigint': (c) => c.createSession({ n: 1n }),
  'a session with a function': (c) => c.createSession({ f: () => 1 }),
  'a session with a lone surrogate': (c) => c.createSession({ a: '\ud800' }),
  'a session with a hole': (c) => c.createSession({ a: [, 1] }),
  'a session with names in a list': (c) => c.createSession({ a: Object.assign([1], { total: 1 }) }),
  'a session with a list of a class': (c) =>
    c.createSession({ a: class List extends Array {}.from([1]) }),
  'a session with a symbol as a name': (c) => c.createSession({ [Symbol('s')]: 1 }),
  'a session with a hidden name': (c) =>
    c.createSession(Object.defineProperty({}, 'a', { value: 1, enumerable: false })),
  'a session with inherited members': (c) =>
    c.createSession(Object.create(Object.create(null, { a: { value: 1, enumerable: true } }))),
  'a session with a cycle': (c) => c.createSession(cycle),
  'a session that is too deep': (c) => c.createSession(deep),
  'a session for 0 seconds': (c) => c.createSession({}, { ttl: 0 }),
};

test.each(Object.entries(mistakes))('%s is refused before anything is sent', async (_, call) => {
  const { client, sent } = recorder();
  let error: unknown;
  const promise = call(client); // never throws
  await promise.catch((e: unknown) => (error = e));
  expect(error).toMatchObject({ name: 'InputError', code: 'invalid_argument' });
  expect(sent).toEqual([]);
});

test.each<[string, unknown, Record<string, unknown>?]>([
  ['an address without a scheme', 'localhost:8080'],
  ['an address without a host', 'http://'],
  ['a relative address in Node', '/api'],
  ['no address in Node', ''],
  ['null', null],
  ['a number', 8080],
  ['another scheme', 'ftp://localhost'],
  ['a query', 'http://localhost/?'],
  ['a fragment', 'http://localhost/#'],
  ['a user', 'http://u:p@localhost'],
  ['a port that does not exist', 'http://localhost:99999'],
  ['a token with a typographic hyphen', 'http://localhost', { token: 'coffer\u2010planted' }],
  ['a token of two lines', 'http://localhost', { token: 'planted\nb' }],
  ['a token with a space', 'http://localhost', { token: 'planted b' }],
  ['a token that is null', 'http://localhost', { token: null }],
  ...[NaN, -1, '1000', null].map((timeout): [string, unknown, Record<string, unknown>] => [
    `a timeout of ${String(timeout)}`,
    'http://localhost',
    { timeout },
  ]),
  ...[NaN, 0, -1, 1.5, Infinity, '3'].map(
    (attempts): [string, unknown, Record<string, unknown>] => [
      `${String(attempts)} attempts`,
      'http://localhost',
      { attempts },
    ],
  ),
  ['a fetch that is not a function', 'http://localhost', { fetch: 'fetch' }],
  ['a misspelled setting', 'http://localhost', { retries: 3 }],
])(
  'a client of %s rejects each call, and its constructor does not throw',
  async (_, baseUrl, options) => {
    const { client, sent } = recorder(options, baseUrl);
    for (const call of [
      () => client.get('k'),
      () => client.set('k', 'v', phi),
      () => client.list().next(),
      () => client.live(),
    ]) {
      const error = await call().catch((e: unknown) => e);
      expect(error).toMatchObject({ name: 'InputError', code: 'invalid_argument' });
      expect(`${error} ${error.stack}`).not.toContain('planted');
    }
    expect(sent).toEqual([]);
  },
);

test('addresses with a path, and tokens with a line break at the end, are accepted', async () => {
  for (const baseUrl of [
    'http://localhost/api/',
    'http://localhost/api',
    ' http://localhost/api ',
    new URL('http://localhost/api'),
  ]) {
    const { client, sent } = recorder({ token: ' coffer_abc\r\n' }, baseUrl);
    await client.set('a/b', 'v', phi);
    expect(sent[0]!.url).toBe('http://localhost/api/v1/cache/a%2Fb?class=phi');
    expect(Object.fromEntries(sent[0]!.init.headers as [string, string][])).toEqual({
      Authorization: 'Bearer coffer_abc',
    });
  }
});

test.each<[string, unknown, number[]]>([
  ['a text', 'é', [195, 169]],
  ['an empty text', '', []],
  ['bytes', Uint8Array.of(65, 66), [65, 66]],
  ['no bytes', new Uint8Array(), []],
  ['part of a buffer', Buffer.from('xABx').subarray(1, 3), [65, 66]],
  ['an ArrayBuffer', Uint8Array.of(65, 66).buffer, [65, 66]],
  ['a SharedArrayBuffer', new Uint8Array(new SharedArrayBuffer(2)).fill(65).buffer, [65, 65]],
  ['bytes of shared memory', new Uint8Array(new SharedArrayBuffer(2)).fill(65), [65, 65]],
  [
    'a resizable buffer',
    new Uint8Array(new (ArrayBuffer as any)(2, { maxByteLength: 4 })).fill(65).buffer,
    [65, 65],
  ],
  [
    'bytes of a resizable buffer',
    new Uint8Array(new (ArrayBuffer as any)(2, { maxByteLength: 4 })).fill(65),
    [65, 65],
  ],
  ['a DataView', new DataView(Uint8Array.of(0, 65, 66).buffer, 1), [65, 66]],
  ['floats', new Float64Array([1]), [0, 0, 0, 0, 0, 0, 240, 63]],
  ['bytes of another realm', runInNewContext('Uint8Array.of(65, 66)'), [65, 66]],
  ['a buffer of another realm', runInNewContext('Uint8Array.of(65, 66).buffer'), [65, 66]],
])('%s is sent without loss by every entry', async (_, value, bytes) => {
  const { client, sent } = recorder({ attempts: 1 });
  await client.set('k', value, phi);
  await client.batch([{ op: 'set', key: 'k', value, ...phi }]).catch(() => undefined); // the answer is not a batch's
  await client.encrypt({ value, ...phi }).catch(() => undefined);
  const [set, batch, encrypt] = sent.map(({ init }) => init.body as BodyInit);
  expect([...new Uint8Array(await new Response(set!).arrayBuffer())]).toEqual(bytes);
  const [operation] = JSON.parse(batch as string).operations;
  expect([...Buffer.from(operation.value, 'base64')]).toEqual(bytes);
  const { text, data } = JSON.parse(encrypt as string);
  expect(typeof value === 'string' ? text : [...Buffer.from(data, 'base64')]).toEqual(
    typeof value === 'string' ? value : bytes,
  );
});

test('a Blob is sent unchanged, without a Content-Type if its type is unknown', async () => {
  const { client, sent } = recorder();
  const blob = new Blob(['ab']);
  await client.set('k', blob, { ...phi, contentType: blob.type });
  expect(sent[0]!.init.body).toBe(blob);
  expect(sent[0]!.init.headers).toEqual([]);
});

test('a retry sends the original arguments even if the caller changes them in the meantime', async () => {
  const bodies: BodyInit[] = [];
  const value = Uint8Array.of(1, 2);
  const options = { ...phi, context: { a: 'b' } as Record<string, string> };
  const fetch = (_: unknown, { body, headers: sent }: RequestInit) => {
    bodies.push(
      `${[...new Uint8Array(body as ArrayBuffer)]} ${new Headers(sent).get('Coffer-Context')}`,
    );
    value.fill(9);
    options.context.a = 'changed';
    return bodies.length === 1
      ? Promise.reject(new TypeError('failed'))
      : Promise.resolve(new Response(null, { status: 204, headers }));
  };
  await new CofferClient('http://localhost', { fetch: fetch as never }).set(
    'k',
    value,
    options as never,
  );
  expect(bodies).toEqual(['1,2 {"a":"b"}', '1,2 {"a":"b"}']);
});
