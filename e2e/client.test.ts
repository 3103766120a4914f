/** coffer/client against the real server: in Node, through a proxy that fails, and from pages of another origin. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CofferClient, type Entry } from '@coffer-storage/coffer/client';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { operations } from '../web/src/client/openapi.gen.js';
import { buildServer } from './demo/build.js';
import {
  type Server,
  chromium,
  firefox,
  removeFolder,
  serve,
  temporaryFolder,
  webkit,
} from './harness/index.js';
import {
  type CofferServer,
  type Fault,
  type TestProxy,
  startCoffer,
  startProxy,
} from './server.js';
import { DIST, ROOT } from './support.js';

const run = promisify(execFile);
const bytes = (text: string) => new TextEncoder().encode(text);
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.unreachable('should have failed'),
    (error: unknown) => error as Record<string, unknown>,
  );

let folder: string;
let binary: string;
let page: Server;
let server: CofferServer;
let proxy: TestProxy;
let client: CofferClient;
let proxiedClient: CofferClient;
let shortTimeoutClient: CofferClient; // for requests that get no response

beforeAll(async () => {
  folder = await temporaryFolder();
  binary = await buildServer();
  const html = '<!doctype html><title>client</title>';
  page = await serve({
    folders: { '/coffer/': DIST },
    files: { '/': html, '/page/v1/cache/k': html },
  });
  server = await startCoffer(binary, join(folder, 'data'), '--cors-origins', page.origin);
  proxy = await startProxy(server.origin);
  client = new CofferClient(server.origin, { token: server.token });
  proxiedClient = new CofferClient(proxy.origin, { token: server.token });
  shortTimeoutClient = new CofferClient(proxy.origin, { token: server.token, timeout: 1000 });
}, 300_000);
afterAll(async () => {
  await Promise.all([server?.close(), proxy?.close(), page?.close()]);
  await removeFolder(folder);
});

async function clientOf(tenant: string, scopes: string): Promise<CofferClient> {
  const { stdout } = await run(binary, [
    'token',
    'create',
    '--data',
    join(folder, 'data'),
    '--tenant',
    tenant,
    '--scopes',
    scopes,
  ]);
  return new CofferClient(server.origin, { token: stdout.replace('token:', '').trim() });
}

/** Returns the error for an operator who ends a key of packages that was the primary until just now. */
async function endFormer(operation: 'disableKey' | 'destroyKey'): Promise<Record<string, unknown>> {
  const operator = await clientOf('*', 'keys:admin');
  for await (const { tenant, class: name, use, keys } of operator.keysets({ tenant: 'default' })) {
    if (use !== 'service' || keys.length === 1) continue;
    return failure(operator[operation]({ tenant, use, class: name, key: keys[1]!.id }));
  }
  return {};
}

/** A call of every operation, in order: each one relies on the entries that the earlier ones left. */
const calls: Record<keyof operations, () => Promise<unknown>> = {
  putEntry: async () => {
    const { etag, ttl } = await client.set('a/../b?c#é', 'Ada', {
      class: 'phi',
      ttl: '1h',
      context: { who: 'Zoë 🔒' },
    });
    expect(ttl).toBe(3600);
    expect(
      await failure(client.set('a/../b?c#é', 'x', { class: 'phi', ifNoneMatch: '*' })),
    ).toMatchObject({ code: 'precondition_failed', status: 412 });
    expect(
      (
        await client.set('a/../b?c#é', new Blob(['Ada']), {
          class: 'phi',
          ttl: 60,
          context: { who: 'Zoë 🔒' },
          ifMatch: etag,
          contentType: 'text/x-name',
        })
      ).etag,
    ).not.toBe(etag);
    expect(await client.set('open', bytes('p'), { class: 'public' })).toMatchObject({ ttl: null });
  },
  getEntry: async () => {
    const entry = (await client.get('a/../b?c#é', { minClass: 'phi' }))!;
    expect(entry).toMatchObject({
      value: bytes('Ada'),
      contentType: 'text/x-name',
      class: 'phi',
      context: { who: 'Zoë 🔒' },
    });
    expect(Math.abs(entry.encryptedAt.getTime() - Date.now())).toBeLessThan(60_000);
    expect(await client.get('a/../b?c#é', { ifNoneMatch: entry.etag })).toBe('unchanged');
    const sealed = (await client.getPackage('a/../b?c#é'))!;
    expect(Buffer.from(sealed.value).subarray(0, 4).toString('latin1')).toBe('CFR\x01');
    const stream = (await client.getStream('a/../b?c#é'))!;
    expect(await new Response(stream.body).text()).toBe('Ada');
    expect(await client.get('none')).toBeNull();
    const context = { long: '中'.repeat(5_000) }; // more than the headers that Node takes
    await client.set('long', 'v', { class: 'phi', context });
    expect(await client.get('long')).toMatchObject({ value: bytes('v'), context });
    const long = (await client.getStream('long'))!;
    expect([long.context, await new Response(long.body).text()]).toEqual([context, 'v']);
    expect(await client.head('long')).toMatchObject({ ttl: expect.any(Number), context });
    const longSealed = (await client.getPackage('long'))!;
    expect([longSealed.context, Buffer.from(longSealed.value).subarray(0, 3).toString()]).toEqual([
      context,
      'CFR',
    ]);
    await client.delete('long');
    expect(await failure(client.get('open', { minClass: 'phi' }))).toMatchObject({
      name: 'IntegrityError',
      code: 'class_too_low',
      status: 403,
    });
  },
  headEntry: async () => {
    expect(await client.head('a/../b?c#é')).toMatchObject({
      class: 'phi',
      ttl: expect.any(Number),
      context: { who: 'Zoë 🔒' },
    });
    expect(await client.head('none')).toBeNull();
  },
  patchEntry: async () => {
    expect(await client.expire('a/../b?c#é', '20m')).toMatchObject({ ttl: 1200 });
    expect(await failure(client.expire('none', 60))).toMatchObject({ code: 'not_found' });
    expect(await failure(client.expire('a/../b?c#é', '25h'))).toMatchObject({
      name: 'InputError',
      code: 'ttl_out_of_range',
    });
  },
  listEntries: async () => {
    const keys = new Set<string>();
    for await (const key of client.list({ pageSize: 1 })) keys.add(key);
    expect([...keys].sort()).toEqual(['a/../b?c#é', 'open']);
    for await (const key of client.list({ prefix: 'o' })) expect(key).toBe('open');
  },
  batchEntries: async () => {
    const results = await client.batch([
      { op: 'set', key: '..', value: 'dots', class: 'pii', ttl: 60 },
      { op: 'get', key: '..' },
      { op: 'get', key: 'none' },
      { op: 'delete', key: '..' },
    ]);
    expect(results.map(({ status }) => status)).toEqual([204, 200, 404, 204]);
    expect(results[1]!.entry).toMatchObject({
      value: bytes('dots'),
      class: 'pii',
      etag: results[0]!.etag,
    });
    expect(results[2]!.error).toMatchObject({ code: 'not_found', status: 404 });
    expect(await failure(client.get('..'))).toMatchObject({
      name: 'InputError',
      code: 'invalid_argument',
    });
  },
  deleteEntry: async () => {
    expect(await failure(client.delete('open', { ifMatch: '"other"' }))).toMatchObject({
      code: 'precondition_failed',
    });
    expect(await client.delete('open')).toBe(true);
    expect(await client.delete('open')).toBe(false);
  },
  encrypt: async () => {
    const sealed = await client.encrypt({ value: 'text', class: 'phi', context: { a: 'b' } });
    expect(sealed.metadata).toMatchObject({
      classification: 'phi',
      use: 'service',
      context: { a: 'b' },
    });
    expect(JSON.stringify(sealed)).not.toContain('text"}');
  },
  decrypt: async () => {
    const opened = await client.decrypt(
      await client.encrypt({ value: 'text', class: 'phi', context: { a: 'b' } }),
      { minClass: 'phi' },
    );
    expect(opened).toMatchObject({
      value: 'text',
      valueType: 'text',
      class: 'phi',
      context: { a: 'b' },
    });
    const sealed = await client.encrypt({ value: Uint8Array.of(0, 255), class: 'pii' });
    expect((await client.decrypt(sealed)).value).toEqual(Uint8Array.of(0, 255));
    sealed.metadata.classification = 'public';
    expect(await failure(client.decrypt(sealed))).toMatchObject({
      code: expect.stringMatching(/authentication_failed|invalid_argument|malformed/),
    });
  },
  encryptBatch: async () => {
    const [text, empty] = await client.encryptBatch([
      { value: 'text', class: 'phi' },
      { value: new Uint8Array(), class: 'public' },
    ]);
    expect([text, empty]).toMatchObject([
      { metadata: { classification: 'phi' } },
      { metadata: { classification: 'public' } },
    ]);
  },
  decryptBatch: async () => {
    const sealed = await client.encrypt({ value: 'text', class: 'phi' });
    const forged = { ...sealed, metadata: { ...sealed.metadata, context: { forged: 'yes' } } };
    const [opened, error] = await client.decryptBatch([sealed, forged]);
    expect(opened).toMatchObject({ value: 'text' });
    expect(error).toMatchObject({
      name: 'IntegrityError',
      code: 'authentication_failed',
      status: 422,
    });
  },
  createSession: async () => {
    const session = await client.createSession({ user: 'u' }, { ttl: '30m' });
    expect(
      Math.abs(session.expiresAt.getTime() - session.createdAt.getTime() - 1_800_000),
    ).toBeLessThan(60_000);
  },
  getSession: async () => {
    const { id } = await client.createSession({ user: 'u', n: [1, -0, 0] });
    expect((await client.getSession(id))?.data).toStrictEqual({ user: 'u', n: [1, -0, 0] });
  },
  extendSession: async () => {
    const { id, createdAt } = await client.createSession({});
    expect(await client.extendSession(id, 7200)).toMatchObject({ createdAt });
  },
  endSession: async () => {
    const { id } = await client.createSession({});
    await client.endSession(id);
    await client.endSession(id);
    expect(await client.getSession(id)).toBeNull();
  },
  listEvents: async () => {
    const events = client.events({
      action: 'key.',
      severity: 'info',
      class: 'phi',
      since: new Date(0),
      pageSize: 2,
    });
    const { value } = await events.next();
    expect(value).toMatchObject({ tenant: 'default', class: 'phi' });
  },
  // The head is empty until the first line of a new log is known to be on disk.
  getEventHead: () =>
    expect
      .poll(async () => (await client.eventHead()).head, { timeout: 30_000 })
      .toMatch(/^[0-9]+:[0-9]+:[0-9a-f]{64}(,|$)/),
  listKeysets: async () => {
    for await (const { tenant, primary, keys } of client.keysets({ pageSize: 1 })) {
      expect([tenant, keys.map(({ id, state }) => [id, state])]).toEqual([
        'default',
        [[primary, 'enabled']],
      ]);
    }
    expect(await failure(client.keysets({ tenant: 'other' }).next())).toMatchObject({
      code: 'forbidden',
      status: 403,
    });
  },
  rotateKeys: async () => {
    expect((await client.rotations()).rotations).toEqual([]);
    expect(await client.rotate({ class: 'phi' })).toMatchObject({
      tenant: 'default',
      compromised: false,
    });
    expect(await failure(client.rotate({ tenant: 'other' }))).toMatchObject({
      code: 'forbidden',
      status: 403,
    });
  },
  rollbackKeys: async () => {
    const { id, state } = await client.rollback();
    expect(state).toBe('rolled-back');
    expect(await client.rollback({ tenant: 'default' })).toMatchObject({ id, state });
  },
  // No key of this server is old enough to be disabled: a server that lost its connection may seal under it for an hour.
  disableKey: async () =>
    expect(await endFormer('disableKey')).toMatchObject({
      code: 'key_unusable',
      status: 409,
      message: expect.stringContaining('may seal under the key until'),
    }),
  destroyKey: async () =>
    expect(await endFormer('destroyKey')).toMatchObject({
      code: 'key_unusable',
      status: 409,
      message: expect.stringContaining('disable it first'),
    }),
  shredTenant: async () => {
    const [clinic, operator] = [
      await clientOf('clinic', 'cache:write'),
      await clientOf('*', 'keys:admin'),
    ];
    await clinic.set('k', 'Ada', { class: 'phi' });
    const { confirmation, ...plan } = await operator.shredTenant('clinic');
    expect(plan).toMatchObject({
      tenant: 'clinic',
      shredded: false,
      changed: false,
      keys: [{ use: 'cache', class: 'phi', keys: 1 }],
    });
    expect(
      await failure(operator.shredTenant('clinic', { confirmation: `${confirmation}x` })),
    ).toMatchObject({ code: 'precondition_failed', status: 412 });
    expect(await failure(client.shredTenant('clinic', { confirmation }))).toMatchObject({
      code: 'forbidden',
      status: 403,
    });
    expect(await operator.shredTenant('clinic', { confirmation })).toMatchObject({
      shredded: true,
      changed: true,
    });
    expect(await failure(clinic.set('k', 'Ada', { class: 'phi' }))).toMatchObject({
      code: 'key_destroyed',
      status: 410,
    });
  },
  listRotations: async () =>
    expect((await client.rotations({ tenant: 'default' })).rotations).toMatchObject([
      { tenant: 'default', state: 'rolled-back' },
    ]),
  getLive: () => client.live(),
  getReady: async () => expect(await client.ready()).toEqual({ status: 'ok' }),
  getDocument: async () =>
    expect(await client.document()).toBe(
      await readFile(join(ROOT, 'internal/api/openapi.yaml'), 'utf8'),
    ),
  getDocs: async () => expect(await client.docs()).toContain('<html'),
  getMetrics: async () => expect(await client.metrics()).toContain('coffer_operations_total'),
};

describe('the client in Node', () => {
  test.each(Object.entries(calls))('calls %s', async (_, call) => void (await call()));

  test('the server counted a call of every operation of the document', async () => {
    const document = await readFile(join(ROOT, 'internal/api/openapi.yaml'), 'utf8');
    const ids = [...document.matchAll(/operationId: (\w+)/g)].map(([, id]) => id!);
    expect(ids.length).toBeGreaterThan(15);
    const metrics = await client.metrics();
    const done = [
      ...metrics.matchAll(
        /coffer_operations_total\{.*operation="(\w+)",outcome="(?:ok|key_unusable)"/g,
      ),
    ].map(([, id]) => id!);
    expect(ids.filter((id) => !done.includes(id))).toEqual([]);
  });

  test('errors carry the server’s code, status and request id, and no secret', async () => {
    const secret = 'coffer_planted';
    const error = await failure(
      new CofferClient(`${server.origin}/`, { token: secret }).get('planted-key'),
    );
    expect(error).toMatchObject({
      name: 'CofferError',
      code: 'unauthorized',
      status: 401,
      requestId: expect.stringMatching(/.{16}/),
    });
    expect(`${String(error)} ${JSON.stringify(error)} ${String(error.stack)}`).not.toMatch(
      /planted/,
    );
  });

  test('a response of another server is an error', async () => {
    expect(await failure(new CofferClient(page.origin).get('k'))).toMatchObject({
      code: 'internal',
      status: 404,
    });
    expect(await failure(new CofferClient(`${page.origin}/page`).get('k'))).toMatchObject({
      code: 'internal',
      status: 200,
    });
  });
});

describe('values and arguments', () => {
  const floats = new Float64Array([1]);
  const bytesOfFloats = new Uint8Array(floats.buffer);
  const shared = new Uint8Array(new SharedArrayBuffer(2)).fill(65);

  test.each<[string, string | Blob | ArrayBuffer | ArrayBufferView, Uint8Array]>([
    ['text', 'é', bytes('é')],
    ['bytes', bytes('AB'), bytes('AB')],
    ['an ArrayBuffer', bytes('AB').buffer, bytes('AB')],
    ['a DataView', new DataView(bytes('xAB').buffer, 1), bytes('AB')],
    ['floats', floats, bytesOfFloats],
    ['shared memory', shared, bytes('AA')],
    ['a Blob', new Blob(['AB']), bytes('AB')],
  ])('%s comes back from every entry', async (_, value, want) => {
    await client.set('value', value, { class: 'phi' });
    expect((await client.get('value'))!.value).toEqual(want);
    if (value instanceof Blob) return;
    await client.batch([{ op: 'set', key: 'value', value, class: 'phi' }]);
    expect((await client.get('value'))!.value).toEqual(want);
    expect((await client.decrypt(await client.encrypt({ value, class: 'phi' }))).value).toEqual(
      typeof value === 'string' ? value : want,
    );
  });

  test('an invalid call sends no request and leaves the earlier value unchanged', async () => {
    await client.set('value', 'before', { class: 'phi' });
    proxy.plan();
    for (const value of [{ a: 1 }, 5, null, undefined, new Date()] as never[]) {
      expect(await failure(proxiedClient.set('value', value, { class: 'phi' }))).toMatchObject({
        name: 'InputError',
        code: 'invalid_argument',
      });
      expect(
        await failure(proxiedClient.batch([{ op: 'set', key: 'value', value, class: 'phi' }])),
      ).toMatchObject({ code: 'invalid_argument' });
      expect(await failure(proxiedClient.encrypt({ value, class: 'phi' }))).toMatchObject({
        code: 'invalid_argument',
      });
    }
    expect(proxy.seen).toEqual([]);
    expect((await client.get('value'))!.value).toEqual(bytes('before'));
  });

  test('a value that is too large is refused after one request', async () => {
    let requests = 0;
    const counting = new CofferClient(server.origin, {
      token: server.token,
      fetch: (...args) => (requests++, fetch(...args)),
    });
    expect(
      await failure(counting.set('large', new Uint8Array(70 << 20), { class: 'internal' })),
    ).toMatchObject({ code: 'too_large', status: 413 });
    expect(requests).toBe(1);
  });
});

describe('retries', () => {
  const faults: Fault[] = ['429', '503', '504', 'cut', 'lost', 'half', 'silence'];
  const value = 'x'.repeat(50_000);

  test.each(faults)('a read is retried after %s', async (fault) => {
    await client.set('steady', value, { class: 'phi' });
    proxy.plan(fault, fault === 'silence' ? 'none' : fault);
    const start = Date.now();
    const by = fault === 'silence' ? shortTimeoutClient : proxiedClient;
    expect(new TextDecoder().decode(((await by.get('steady')) as Entry).value)).toBe(value);
    if (fault === 'silence') return expect(proxy.seen.length).toBeGreaterThanOrEqual(2); // more on a slow machine
    expect(proxy.seen).toHaveLength(3);
    if (fault === '429') expect(Date.now() - start).toBeGreaterThanOrEqual(2000); // as Retry-After says
  });

  const sealed = () => client.encrypt({ value: 'v', class: 'phi' });
  const session = () => client.createSession({});
  const repeated: [string, () => Promise<unknown>][] = [
    ['set', () => proxiedClient.set('r', 'v', { class: 'phi' })],
    ['head', () => proxiedClient.head('r')],
    ['expire', () => proxiedClient.expire('r', 60)],
    ['list', () => proxiedClient.list().next()],
    ['batch of get', () => proxiedClient.batch([{ op: 'get', key: 'r' }])],
    [
      'batch of set',
      () => proxiedClient.batch([{ op: 'set', key: 'r', value: 'v', class: 'phi' }]),
    ],
    ['delete', () => proxiedClient.delete('r')],
    ['encrypt', () => proxiedClient.encrypt({ value: 'v', class: 'phi' })],
    ['encryptBatch', () => proxiedClient.encryptBatch([{ value: 'v', class: 'phi' }])],
    ['decrypt', async () => sealed().then((s) => proxiedClient.decrypt(s))],
    ['decryptBatch', async () => sealed().then((s) => proxiedClient.decryptBatch([s]))],
    ['getSession', async () => session().then(({ id }) => proxiedClient.getSession(id))],
    ['extendSession', async () => session().then(({ id }) => proxiedClient.extendSession(id, 60))],
    ['endSession', async () => session().then(({ id }) => proxiedClient.endSession(id))],
  ];
  test.each(repeated)('%s is sent again', async (_, call) => {
    proxy.plan('503');
    await call();
    expect(proxy.seen).toHaveLength(2);
    expect(proxy.seen[0]).toBe(proxy.seen[1]);
  });

  const once: [string, (by: CofferClient) => Promise<unknown>][] = [
    ['createSession', (by) => by.createSession({})],
    ['batch with a delete', (by) => by.batch([{ op: 'delete', key: 'r' }])],
    [
      'batch of set and get',
      (by) =>
        by.batch([
          { op: 'set', key: 'r', value: 'v', class: 'phi' },
          { op: 'get', key: 'r' },
        ]),
    ],
    ['ready', (by) => by.ready()],
  ];
  test.each(once)('%s is sent once, even if it fails', async (_, call) => {
    for (const fault of faults.filter((f) => f !== 'half')) {
      proxy.plan(fault);
      const error = await failure(call(fault === 'silence' ? shortTimeoutClient : proxiedClient));
      expect(error).toMatchObject({
        name: 'CofferError',
        code:
          {
            '429': 'rate_limited',
            '503': 'store_unavailable',
            '504': 'timeout',
            silence: 'timeout',
          }[fault as string] ?? 'unreachable',
      });
      if (fault === 'silence')
        expect(proxy.seen.length).toBeLessThanOrEqual(1); // none on a slow machine
      else expect(proxy.seen).toHaveLength(1);
    }
  });

  test('a permanent error is not retried', async () => {
    proxy.plan('page');
    expect(await failure(proxiedClient.get('steady'))).toMatchObject({
      code: 'internal',
      status: 404,
    });
    expect(proxy.seen).toHaveLength(1);
    expect(await failure(proxiedClient.set('r', 'v', { class: 'phi', ttl: '25h' }))).toMatchObject({
      code: 'ttl_out_of_range',
    });
    expect(proxy.seen).toHaveLength(2);
  });

  test('the error of the last attempt is returned', async () => {
    proxy.plan('503', '503', '503', '503', '503');
    expect(await failure(proxiedClient.get('steady'))).toMatchObject({
      code: 'store_unavailable',
      status: 503,
      requestId: 'planned',
    });
    expect(proxy.seen).toHaveLength(4);
    proxy.plan('429');
    expect(
      await failure(
        new CofferClient(proxy.origin, { token: server.token, attempts: 1 }).get('steady'),
      ),
    ).toMatchObject({ code: 'rate_limited', retryAfter: 1 });
    expect(proxy.seen).toHaveLength(1);
  });

  test('a retry reports success if the first attempt met the condition and its response was lost', async () => {
    await client.delete('lock');
    proxy.plan('lost');
    expect(
      await failure(proxiedClient.set('lock', 'mine', { class: 'phi', ifNoneMatch: '*' })),
    ).toMatchObject({ code: 'unreachable' });
    expect(proxy.seen).toHaveLength(2);
    expect(new TextDecoder().decode((await client.get('lock'))!.value)).toBe('mine');
    proxy.plan('cut'); // did not take effect: the second attempt tells
    expect(
      await failure(proxiedClient.set('lock', 'other', { class: 'phi', ifNoneMatch: '*' })),
    ).toMatchObject({ code: 'unreachable' });
    proxy.plan('429'); // certainly did not take effect
    expect(
      await failure(proxiedClient.set('lock', 'other', { class: 'phi', ifNoneMatch: '*' })),
    ).toMatchObject({ code: 'precondition_failed' });
    proxy.plan('lost');
    expect(await proxiedClient.delete('lock')).toBe(true);
    expect(await client.get('lock')).toBeNull();
  });

  test('a signal aborts a call during a wait and during the response', async () => {
    const reason = new Error('enough');
    for (const fault of ['busy', 'silence'] as const) {
      proxy.plan(fault);
      const control = new AbortController();
      const sent = setInterval(() => proxy.seen.length > 0 && control.abort(reason), 100);
      onTestFinished(() => clearInterval(sent));
      expect(
        await failure(new CofferClient(proxy.origin).get('steady', { signal: control.signal })),
      ).toBe(reason);
      expect(proxy.seen).toHaveLength(1);
    }
    proxy.plan();
    expect(await failure(proxiedClient.get('steady', { signal: AbortSignal.abort(reason) }))).toBe(
      reason,
    );
    expect(proxy.seen).toHaveLength(0);
  });

  test('a stream that has begun is not retried, and its signal aborts it', async () => {
    proxy.plan('half');
    const { body } = (await proxiedClient.getStream('steady')) as { body: ReadableStream };
    await failure(new Response(body).text());
    expect(proxy.seen).toHaveLength(1);
    proxy.plan('503');
    const control = new AbortController();
    const stream = (await proxiedClient.getStream('steady', { signal: control.signal })) as {
      body: ReadableStream;
    };
    control.abort();
    await failure(new Response(stream.body).text());
    expect(proxy.seen).toHaveLength(2);
  });
});

describe.each([chromium, firefox, webkit])('the client in $name', (engine) => {
  test('works from a page of another origin', async () => {
    const session = await engine.open();
    onTestFinished(() => session.close());
    const seen = await (await session.page(page.origin)).evaluate(
      async (origin, token) => {
        const { CofferClient } = (await import(
          '/coffer/client/index.js' as string
        )) as typeof import('@coffer-storage/coffer/client');
        const { CofferError } = (await import(
          '/coffer/index.js' as string
        )) as typeof import('@coffer-storage/coffer');
        const client = new CofferClient(origin, { token });
        const key = `page/${navigator.userAgent}`;
        const { etag } = await client.set(key, new Blob(['Ada'], { type: 'text/x-name' }), {
          class: 'phi',
          ttl: '1h',
          context: { who: 'Zoë' },
        });
        const got = (await client.get(key))!;
        const opened = await client.decrypt(await client.encrypt({ value: 'v', class: 'pii' }));
        const { id } = await client.createSession({ a: 1 });
        const error = (await client.expire('none', 1).catch((e: unknown) => e)) as InstanceType<
          typeof CofferError
        >;
        return [
          [
            await new Blob([got.value]).text(),
            got.contentType,
            got.class,
            got.context,
            got.etag === etag,
          ],
          await client.get(key, { ifNoneMatch: etag }),
          3600 - (await client.head(key))!.ttl! < 60,
          opened.value,
          (await client.getSession(id))?.data,
          [error instanceof CofferError, error.code, error.status, error.requestId !== undefined],
          await client.delete(key, { ifMatch: etag }),
        ];
      },
      server.origin,
      server.token,
    );
    expect(seen).toEqual([
      ['Ada', 'text/x-name', 'phi', { who: 'Zoë' }, true],
      'unchanged',
      true,
      'v',
      { a: 1 },
      [true, 'not_found', 404, true],
      true,
    ]);
  });
});
