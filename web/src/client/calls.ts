/** Requests with JSON bodies, pages and missing entries, which the calls of the client share. */
import { stringify } from '../core/plain.js';
import type { CofferError } from '../index.js';
import { parseJson } from './responses.js';
import { type CallOptions, type Http, type Sent, makeForeignError } from './http.js';
import type { operations } from './openapi.gen.js';
import { buildCall } from './requests.js';

/** The names of the API's operations that a call can send. */
export type Operation = Parameters<Http['send']>[0];

/** The JSON of an operation's response. */
export type Json<K extends keyof operations> = operations[K]['responses'] extends {
  200: { content: { 'application/json': infer T } };
}
  ? T
  : operations[K]['responses'] extends { 201: { content: { 'application/json': infer T } } }
    ? T
    : never;

/** Reads a response's JSON. Rejects with `internal` if the body is not JSON. */
export const readJson = async <K extends keyof operations>(response: Response): Promise<Json<K>> =>
  parseJson(await response.text(), response.status) as Json<K>;

/** Sends a request whose response is JSON. */
export const request = <K extends keyof operations & Operation>(
  http: Http,
  operation: K,
  sent: Sent,
): Promise<Json<K>> => http.send(operation, sent, readJson<K>);

/** Sends a JSON body. */
export function post<K extends keyof operations & Operation>(
  http: Http,
  operation: K,
  body: unknown,
  options: CallOptions,
  more: Sent = {},
): Promise<Json<K>> {
  const headers = { 'Content-Type': 'application/json' };
  return request(http, operation, {
    ...more,
    ...buildCall(options),
    headers,
    body: stringify(body),
  });
}

/** Iterates over the pages of a list. */
export async function* pages<K extends 'listEntries' | 'listKeysets' | 'listEvents'>(
  http: Http,
  operation: K,
  sent: Sent,
): AsyncGenerator<Json<K>, void, undefined> {
  for (let cursor: string | undefined; ; ) {
    const page: Json<K> = await request(http, operation, {
      ...sent,
      query: { ...sent.query, cursor },
    });
    yield page;
    cursor = (page as { cursor?: string }).cursor;
    if (cursor === undefined) return;
  }
}

/** Resolves to null if the server reports that the entry or session does not exist. */
export async function orNull<T>(promise: Promise<T>): Promise<T | null> {
  return promise.catch((error: CofferError) => {
    // A signal's reason may have a code of its own, but not a status.
    if (error?.code === 'not_found' && error.status === 404) return null;
    throw error;
  });
}

/** Returns the results of a batch. Throws `internal` unless there is one for each item. */
export function resultsOf<T>({ results }: { results: T[] }, items: readonly unknown[]): T[] {
  if (results?.length !== items.length) throw makeForeignError(200);
  return results;
}
