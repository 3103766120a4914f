/** Reading entries of the cache, and batches. */
import {
  type Entry,
  type EntryHead,
  fromBase64,
  parseInfo,
  hasLongContext,
  makeResultError,
  parseTtl,
  readContext,
} from './responses.js';
import { checkList } from './arguments.js';
import { orNull, post, resultsOf } from './calls.js';
import type { CallOptions, Http } from './http.js';
import type { components } from './openapi.gen.js';
import { buildRead, buildOperation } from './requests.js';
import type { BatchOperation, BatchResult, GetOptions, Unchanged } from './types.js';

/** The media type of a binary package, for `Accept`. */
const PACKAGE = 'application/vnd.coffer.package';

/** A read of an entry. */
export interface Reading<O extends GetOptions, T> {
  key: string;
  options: O | undefined;
  /** Asks for the package instead of the value. */
  sealed?: boolean;
  /** Whether the caller reads the body as a stream. */
  streams?: boolean;
  /** Reads the result from the response. */
  read(response: Response): T | Promise<T>;
}

/** Reads an entry. A context that is too long for a header takes a second request, which returns it in the body. */
export async function readEntry<O extends GetOptions, T>(
  http: Http,
  reading: Reading<O, T>,
): Promise<T | Unchanged<O> | null> {
  const tooLong = Symbol('context too long for a header');
  const result = await sendRead<O, T | symbol>(http, {
    ...reading,
    read: async (response) => {
      if (!hasLongContext(response)) return reading.read(response);
      await response.body?.cancel();
      return tooLong;
    },
  });
  return result === tooLong ? readWithContext(http, reading) : (result as T | Unchanged<O> | null);
}

/** Reads an entry whose response body begins with the context. */
function readWithContext<O extends GetOptions, T>(
  http: Http,
  reading: Reading<O, T>,
): Promise<T | Unchanged<O> | null> {
  const read = async (response: Response) => reading.read(await readContext(response));
  return sendRead(http, { ...reading, read }, { context: 'body' });
}

function sendRead<O extends GetOptions, T>(
  http: Http,
  { key, options, sealed = false, streams = false, read }: Reading<O, T>,
  more: Record<string, string> = {},
): Promise<T | Unchanged<O> | null> {
  const { headers, query, ...sent } = buildRead(key, options);
  const all = {
    ...sent,
    streams,
    query: { ...query, ...more },
    headers: { ...headers, Accept: sealed ? PACKAGE : '*/*' },
  };
  return orNull(
    http.send('getEntry', all, (response) => unchanged<O, T>(response) ?? read(response)),
  );
}

/** Reads an entry's header and time to live. */
export async function readHead<O extends GetOptions>(
  http: Http,
  key: string,
  options: O | undefined,
): Promise<EntryHead | Unchanged<O> | null> {
  let long = false;
  const head = await orNull(
    http.send('headEntry', buildRead(key, options), (response) => {
      long = hasLongContext(response);
      return (
        unchanged<O, EntryHead>(response) ?? { ...parseInfo(response), ttl: parseTtl(response) }
      );
    }),
  );
  if (!long) return head;
  const read = async (response: Response): Promise<EntryHead> => {
    await response.body?.cancel();
    return { ...parseInfo(response), ttl: (head as EntryHead).ttl };
  };
  return readWithContext(http, { key, options, sealed: true, read });
}

/** Returns `'unchanged'` for status 304, which only a request with `ifNoneMatch` gets. */
const unchanged = <O, T>(response: Response): T | Unchanged<O> | undefined =>
  response.status === 304 ? ('unchanged' as Unchanged<O>) : undefined;

/** Sends a batch. It is retried only if a repetition has the same results: all operations are `get`, or all are `set`. */
export async function runBatch(
  http: Http,
  operations: readonly BatchOperation[],
  options: CallOptions,
): Promise<BatchResult[]> {
  const steps = checkList<BatchOperation>('operations', operations).map(buildOperation);
  const repeatable = ['get', 'set'].some((op) => steps.every((step) => step.op === op));
  const body = { operations: steps } satisfies components['schemas']['BatchRequest'];
  const answer = await post(http, 'batchEntries', body, options, { repeatable });
  return resultsOf(answer, steps).map(({ status, etag, entry, code, detail }) => ({
    status,
    ...(etag !== undefined && { etag }),
    ...(entry && {
      entry: {
        ...entry,
        etag: etag ?? '',
        value: fromBase64(entry.value),
        encryptedAt: new Date(entry.encryptedAt),
      } satisfies Entry,
    }),
    ...(code && { error: makeResultError(code, status, detail) }),
  }));
}
