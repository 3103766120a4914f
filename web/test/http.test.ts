/** How coffer/client sends: time-outs, signals, bodies that break, and answers that are not a Coffer server's. */
import { getEventListeners } from 'node:events';
import { expect, test, vi } from 'vitest';
import { CofferClient } from '../src/client/client.js';

const info = {
  'X-Request-Id': 'planned',
  ETag: '"e"',
  'Coffer-Class': 'phi',
  'Coffer-Key-Id': 'a',
  'Coffer-Encrypted-At': '2026-01-01T00:00:00Z',
};
const problem = (status: number, code: string, more = {}) =>
  new Response(JSON.stringify({ code, detail: 'planned' }), {
    status,
    headers: { 'Content-Type': 'application/problem+json', 'X-Request-Id': 'planned', ...more },
  });
const listeners = (signal: AbortSignal) => getEventListeners(signal, 'abort').length;
const clientOf = (
  answer: (n: number, init: RequestInit) => Response | Promise<Response>,
  options = {},
) => {
  let n = 0;
  return new CofferClient('http://localhost', {
    fetch: (async (_: string, init: RequestInit) => answer(++n, init)) as never,
    ...options,
  });
};
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.unreachable(),
    (error: unknown) => error as Record<string, unknown>,
  );

test.each([0, Infinity, 2 ** 31, 2 ** 53])(
  'a timeout of %d never ends an attempt',
  async (timeout) => {
    vi.useFakeTimers();
    try {
      const client = clientOf(
        () =>
          new Promise((resolve) =>
            setTimeout(() => resolve(new Response('v', { headers: info })), 2 ** 30),
          ),
        { timeout },
      );
      const got = client.get('k');
      await vi.advanceTimersByTimeAsync(2 ** 30);
      expect(await got).toMatchObject({ etag: '"e"' });
    } finally {
      vi.useRealTimers();
    }
  },
);

const broken = () => new ReadableStream({ pull: (c) => c.error(new TypeError('terminated')) });
const uses: Record<
  string,
  [() => Response, (client: CofferClient, signal: AbortSignal) => Promise<unknown>]
> = {
  'a read': [() => new Response('v', { headers: info }), (c, signal) => c.get('k', { signal })],
  'a read that fails': [
    () => problem(403, 'forbidden'),
    (c, signal) => failure(c.get('k', { signal })),
  ],
  'a stream that is read to its end': [
    () => new Response('v', { headers: info }),
    async (c, signal) => new Response((await c.getStream('k', { signal }))!.body).text(),
  ],
  'a stream that is cancelled': [
    () => new Response('v', { headers: info }),
    async (c, signal) => (await c.getStream('k', { signal }))!.body.cancel(),
  ],
  'a stream that breaks': [
    () => new Response(broken(), { headers: info }),
    async (c, signal) =>
      expect(
        await failure(new Response((await c.getStream('k', { signal }))!.body).text()),
      ).toMatchObject({ name: 'CofferError', code: 'unreachable' }),
  ],
  'a stream of an empty value': [
    () => new Response(null, { headers: info }),
    async (c, signal) =>
      expect(await new Response((await c.getStream('k', { signal }))!.body).text()).toBe(''),
  ],
  'a stream of nothing': [
    () => problem(404, 'not_found'),
    async (c, signal) => expect(await c.getStream('k', { signal })).toBeNull(),
  ],
  'a stream that is unchanged': [
    () => new Response(null, { status: 304, headers: info }),
    async (c, signal) =>
      expect(await c.getStream('k', { signal, ifNoneMatch: '"e"' })).toBe('unchanged'),
  ],
  'a stream that is refused': [
    () => problem(422, 'authentication_failed'),
    (c, signal) => failure(c.getStream('k', { signal })),
  ],
  'a stream without what a server says of it': [
    () => new Response('v', { headers: { 'X-Request-Id': 'planned' } }),
    (c, signal) => failure(c.getStream('k', { signal })),
  ],
};

test.each(Object.entries(uses))('%s leaves no listener at the signal', async (_, [answer, use]) => {
  const { signal } = new AbortController();
  await use(clientOf(answer, { attempts: 1 }), signal);
  expect(listeners(signal)).toBe(0);
});

test('attempts, and the pauses between them, leave no listener at the signal', async () => {
  const { signal } = new AbortController();
  const client = clientOf((n) =>
    n < 3
      ? problem(503, 'store_unavailable', { 'Retry-After': '0' })
      : new Response('v', { headers: info }),
  );
  expect(await client.get('k', { signal })).toMatchObject({ etag: '"e"' });
  expect(listeners(signal)).toBe(0);
  const control = new AbortController();
  const reason = new Error('enough');
  const waiting = clientOf(
    () => (
      setTimeout(() => control.abort(reason)),
      problem(503, 'store_unavailable', { 'Retry-After': '60' })
    ),
  );
  expect(await failure(waiting.get('k', { signal: control.signal }))).toBe(reason);
  expect(listeners(control.signal)).toBe(0);
  let requests = 0;
  expect(
    await failure(
      clientOf(() => (requests++, new Response())).get('k', { signal: control.signal }),
    ),
  ).toBe(reason);
  expect([requests, listeners(control.signal)]).toEqual([0, 0]);
});

test('a stream fails with the reason of its signal', async () => {
  const control = new AbortController();
  const client = clientOf((_, { signal }) => {
    const body = new ReadableStream({
      start: (c) => signal!.addEventListener('abort', () => c.error(signal!.reason)),
    });
    return new Response(body, { headers: info });
  });
  const stream = await client.getStream('k', { signal: control.signal });
  const reason = new Error('enough');
  const reading = failure(stream!.body.getReader().read());
  control.abort(reason);
  expect(await reading).toBe(reason);
  expect(listeners(control.signal)).toBe(0);
});

test('a body that nobody reads is cancelled, so that its connection is free again', async () => {
  for (const headers of [{ 'X-Request-Id': 'planned' }, {}]) {
    let cancelled = false;
    const body = () => new ReadableStream({ cancel: () => void (cancelled = true) });
    await clientOf(() => new Response(body(), { headers }))
      .live()
      .catch(() => undefined);
    expect(cancelled).toBe(true);
  }
});

test('a file that cannot be read is not a server that cannot be reached', async () => {
  const file = new Blob(['v']);
  Object.defineProperty(file, 'slice', {
    value: () => ({
      arrayBuffer: () => Promise.reject(new DOMException('changed', 'NotReadableError')),
    }),
  });
  let requests = 0;
  const client = clientOf(() => Promise.reject(new TypeError(`failed ${requests++}`)));
  expect(await failure(client.set('k', file, { class: 'phi' }))).toMatchObject({
    code: 'invalid_argument',
  });
  expect(requests).toBe(1);
});

test.each([
  [507, 'quota_exceeded'],
  [507, 'storage_full'],
  [413, 'too_large'],
  [401, 'unauthorized'],
  [403, 'forbidden'],
  [431, 'too_large'],
])('%d %s is told after one request', async (status, code) => {
  let requests = 0;
  expect(
    await failure(
      clientOf(() => (requests++, problem(status, code))).set('k', 'v', { class: 'phi' }),
    ),
  ).toMatchObject({ code, status });
  expect(requests).toBe(1);
});

const json = (text: string) => new Response(text, { headers: { 'X-Request-Id': 'planned' } });
test.each<[string, () => Response, (c: CofferClient) => Promise<unknown>]>([
  ['JSON that is cut', () => json('{'), (c) => c.rotations()],
  [
    'a batch with a result too few',
    () => json('{"results":[]}'),
    (c) => c.batch([{ op: 'get', key: 'k' }]),
  ],
  ['no results', () => json('{}'), (c) => c.encryptBatch([{ value: 'v', class: 'phi' }])],
  [
    'a ttl that is not a number',
    () => new Response(null, { status: 204, headers: { ...info, 'Coffer-TTL': '-5' } }),
    (c) => c.expire('k', 60),
  ],
  [
    'a context that is not JSON',
    () => new Response('v', { headers: { ...info, 'Coffer-Context': 'a' } }),
    (c) => c.get('k'),
  ],
  [
    'no class',
    () => new Response('v', { headers: { 'X-Request-Id': 'planned' } }),
    (c) => c.get('k'),
  ],
])('%s is not a Coffer server’s answer', async (_, answer, use) => {
  let requests = 0;
  expect(await failure(use(clientOf(() => (requests++, answer()))))).toMatchObject({
    name: 'CofferError',
    code: 'internal',
  });
  expect(requests).toBe(1);
});

test('a base URL with a wrong path is an error, and not a missing entry', async () => {
  expect(await clientOf(() => problem(404, 'not_found')).get('k')).toBeNull();
  expect(await failure(clientOf(() => problem(404, 'unknown_route')).get('k'))).toMatchObject({
    code: 'unknown_route',
    status: 404,
  });
});
