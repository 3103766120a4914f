import { afterEach, expect, test, vi } from 'vitest';
import { CacheEntry } from './cache.js';

const fetched = vi.fn<typeof fetch>();
vi.stubGlobal('fetch', fetched);
afterEach(() => fetched.mockReset());

const entry = new CacheEntry('demo/a b', ' token ');

test('a value is sent with class, time to live, token and a context in ASCII', async () => {
  fetched.mockResolvedValue(new Response(null, { status: 204 }));
  const value = new Blob(['x']);
  await entry.put(value, 'phi', '1h', { patientId: 'Zoë 🔒' });
  const [url, init] = fetched.mock.calls[0]!;
  expect(url).toBe('/v1/cache/demo%2Fa%20b?class=phi&ttl=1h');
  expect(init).toMatchObject({ method: 'PUT', body: value, cache: 'no-store' });
  const headers = init?.headers as Record<string, string>;
  expect(headers.Authorization).toBe('Bearer token');
  expect(headers['Coffer-Context']).toBe('{"patientId":"Zo\\u00eb \\ud83d\\udd12"}');
});

test('a value comes back with what the server says of it', async () => {
  fetched.mockResolvedValue(new Response(Uint8Array.of(1, 2), { headers: { 'Coffer-Class': 'phi', 'Coffer-Key-Id': 'ab' } }));
  expect(await entry.getPackage()).toEqual({ bytes: Uint8Array.of(1, 2), classification: 'phi', keyId: 'ab' });
  expect(fetched.mock.calls[0]?.[1]?.headers).toMatchObject({ Accept: 'application/vnd.coffer.package' });
});

test.each([
  ['a problem document', () => Promise.resolve(new Response('{"code":"unauthorized","detail":"no"}', { status: 401 })), 'unauthorized', 'no'],
  ['a proxy’s page', () => Promise.resolve(new Response('<html>', { status: 502 })), 'http_502', 'the server answered with status 502'],
  ['no answer', () => Promise.reject(new TypeError('Failed to fetch')), 'unreachable', 'the server does not answer'],
])('%s is an error with a code', async (_, answer, code, message) => {
  fetched.mockImplementation(answer);
  await expect(entry.get()).rejects.toMatchObject({ code, message });
});
