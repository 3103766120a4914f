import { afterEach, expect, test, vi } from 'vitest';
import { CacheEntry } from './cache.js';

const fetched = vi.fn<typeof fetch>();
vi.stubGlobal('fetch', fetched);
afterEach(() => fetched.mockReset());

const entry = new CacheEntry('demo/a b', ' token ');
const answer = (body: BodyInit | null, status: number, headers = {}) => fetched.mockImplementation(() => Promise.resolve(new Response(body, { status, headers: { 'X-Request-Id': 'id', ...headers } })));

test('a record is sent with class, time to live, token and context', async () => {
  answer(null, 204);
  await entry.put(new Blob(['x']), 'phi', '1h', { patientId: 'Zoë' });
  const [url, init] = fetched.mock.calls[0]!;
  expect(url).toBe('/v1/cache/demo%2Fa%20b?class=phi&ttl=1h');
  expect(Object.fromEntries(new Headers(init?.headers))).toEqual({ authorization: 'Bearer token', 'coffer-context': '{"patientId":"Zo\\u00eb"}' });
});

test('a value and a package come back with what the server says of them', async () => {
  for (const [read, accept] of [[() => entry.get(), '*/*'], [() => entry.getPackage(), 'application/vnd.coffer.package']] as const) {
    answer(Uint8Array.of(1, 2), 200, { 'Coffer-Class': 'phi', 'Coffer-Key-Id': 'ab' });
    expect(await read()).toEqual({ bytes: Uint8Array.of(1, 2), classification: 'phi', keyId: 'ab' });
    expect(new Headers(fetched.mock.lastCall?.[1]?.headers).get('Accept')).toBe(accept);
  }
});

test('nothing there is not_found', async () => {
  answer('{"code":"not_found"}', 404, { 'Content-Type': 'application/problem+json' });
  for (const call of [() => entry.get(), () => entry.getPackage(), () => entry.delete()]) await expect(call()).rejects.toMatchObject({ code: 'not_found' });
});
