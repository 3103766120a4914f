import { invalid } from './arguments.js';
import type { Code } from '../core/codes.gen.js';
import { CofferError, InputError, IntegrityError, KeyError } from '../index.js';
import type { operations } from './openapi.gen.js';
import { type ClientOptions, type Settings, checkSettings } from './settings.js';

/** The method and path of an operation, and whether it is idempotent, so that a request can be repeated. */
type Route = readonly [method: string, path: string, repeatable: boolean];

/** Every operation of the OpenAPI document. The key is appended to a path that ends with a slash. */
const routes = {
  getEntry: ['GET', '/v1/cache/', true],
  headEntry: ['HEAD', '/v1/cache/', true],
  putEntry: ['PUT', '/v1/cache/', true],
  patchEntry: ['PATCH', '/v1/cache/', true],
  deleteEntry: ['DELETE', '/v1/cache/', true],
  listEntries: ['GET', '/v1/cache', true],
  batchEntries: ['POST', '/v1/cache:batch', false],
  encrypt: ['POST', '/v1/encrypt', true], // nothing is stored
  encryptBatch: ['POST', '/v1/encrypt:batch', true],
  decrypt: ['POST', '/v1/decrypt', true],
  decryptBatch: ['POST', '/v1/decrypt:batch', true],
  createSession: ['POST', '/v1/sessions', false],
  getSession: ['GET', '/v1/session', true],
  extendSession: ['PATCH', '/v1/session', true],
  endSession: ['DELETE', '/v1/session', true],
  listKeysets: ['GET', '/v1/keys', true],
  rotateKeys: ['POST', '/v1/keys:rotate', false],
  rollbackKeys: ['POST', '/v1/keys:rollback', true],
  disableKey: ['POST', '/v1/keys:disable', true], // states only advance
  destroyKey: ['POST', '/v1/keys:destroy', true],
  shredTenant: ['POST', '/v1/keys:shred', true],
  listRotations: ['GET', '/v1/rotations', true],
  listEvents: ['GET', '/v1/audit', true],
  getEventHead: ['GET', '/v1/audit/head', true],
  getMetrics: ['GET', '/metrics', true],
  getLive: ['GET', '/livez', true],
  getReady: ['GET', '/readyz', true],
  getDocument: ['GET', '/v1/openapi.yaml', true],
  getDocs: ['GET', '/v1/docs', true],
} as const satisfies Record<keyof operations, Route>;

/** Options of every call. */
export interface CallOptions {
  /** Aborts the call, including its pauses and retries. The call rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** The parts of a request. */
export interface Sent extends CallOptions {
  /** The key, which is appended to the path. */
  name?: string;
  query?: Record<string, string | number | undefined>;
  headers?: Record<string, string | undefined>;
  body?: BodyInit;
  /** Whether the body is read after `read` returned. The caller's signal then still aborts it. */
  streams?: boolean;
  /** Overrides whether the operation is repeatable. */
  repeatable?: boolean;
}

const FIRST_WAIT = 200; // milliseconds, doubled each time
const LONGEST_WAIT = 5_000;
const LONGEST_RETRY_AFTER = 60_000; // a longer Retry-After is not waited for

/** Sends requests and retries them after 429, 502, 503, 504 and failed connections, if the operation is repeatable. */
export class Http {
  /** The error that every call rejects with if a setting is invalid. */
  readonly #fault: unknown;
  readonly #settings!: Settings;

  constructor(base: unknown, options: ClientOptions) {
    try {
      this.#settings = checkSettings(base, options);
    } catch (error) {
      this.#fault = error;
    }
  }

  /** Sends a request. `read` reads a response with a success status or 304; if the connection fails while it reads, the request is retried. */
  async send<T>(
    operation: keyof typeof routes,
    sent: Sent,
    read: (response: Response) => T | Promise<T>,
  ): Promise<T> {
    if (this.#fault) throw this.#fault;
    const [method, path, idempotent]: Route = routes[operation];
    const repeatable = sent.repeatable ?? idempotent;
    const url = this.#settings.base + path + encodeSegment(sent.name) + encodeQuery(sent.query);
    const attempts = repeatable ? this.#settings.attempts : 1;
    if (sent.signal?.aborted) throw sent.signal.reason;
    let doubt: CofferError | undefined; // the first error that leaves it unknown whether the request took effect
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(method, url, sent, read);
      } catch (error) {
        if (!(error instanceof CofferError) || sent.signal?.aborted) throw error;
        // An earlier attempt of this call may have changed the entry.
        if (
          doubt &&
          (method === 'PUT' || method === 'DELETE') &&
          error.code === 'precondition_failed'
        )
          throw doubt;
        if (doubt && method === 'DELETE' && error.code === 'not_found')
          return read(new Response(null, { status: 204 }));
        const wait = retryDelay(error, attempt);
        if (attempt >= attempts || wait === undefined) throw error;
        if (error.code !== 'rate_limited') doubt ??= error;
        await sleep(wait, sent.signal);
      }
    }
  }

  async #attempt<T>(
    method: string,
    url: string,
    { headers, body, signal, streams = false }: Sent,
    read: (response: Response) => T | Promise<T>,
  ): Promise<T> {
    const { token, timeout, fetch = globalThis.fetch } = this.#settings;
    const control = new AbortController();
    const abort = () => control.abort();
    const release = () => signal?.removeEventListener('abort', abort);
    signal?.addEventListener('abort', abort);
    const timer = timeout === undefined ? undefined : setTimeout(abort, timeout);
    let response: Response | undefined;
    let streaming = false;
    try {
      const all = Object.entries({ ...headers, Authorization: token && `Bearer ${token}` }).filter(
        (pair): pair is [string, string] => pair[1] !== undefined,
      );
      // The API never redirects, and a token or a value must not reach another server.
      response = await fetch(url, {
        method,
        headers: all,
        signal: control.signal,
        redirect: 'manual',
        ...(body === undefined ? {} : { body }),
      });
      if (!response.ok && response.status !== 304) throw await readFailure(response);
      if (!response.headers.has('X-Request-Id')) throw makeForeignError(response.status); // the page of a proxy or another program
      if (!streams || !response.body) return await read(response);
      const answer = await read(
        new Response(watchEnd(response.body, release, signal), {
          status: response.status,
          headers: response.headers,
        }),
      );
      streaming = true;
      return answer;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (error instanceof CofferError) throw error;
      if (body instanceof Blob && !(await isReadable(body)))
        throw invalid('the file cannot be read: it may have been changed or removed', error);
      if (control.signal.aborted)
        throw new CofferError(
          'timeout',
          'the server did not answer in time; a write may have taken effect',
          { cause: error },
        );
      throw unreachable(error);
    } finally {
      clearTimeout(timer);
      if (!streaming) {
        release();
        if (response?.body && !response.bodyUsed && !response.body.locked)
          void response.body.cancel().catch(() => undefined); // otherwise the connection stays busy
      }
    }
  }
}

const unreachable = (cause: unknown): CofferError =>
  new CofferError(
    'unreachable',
    'the server cannot be reached, or the connection failed; a write may have taken effect',
    { cause },
  );

/** Wraps a body so that `release` is called when it was read to its end, was cancelled or failed. */
function watchEnd(
  body: ReadableStream<Uint8Array>,
  release: () => void,
  signal?: AbortSignal,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    try {
      const { done, value } = await reader.read();
      if (!done) return controller.enqueue(value);
      controller.close();
    } catch (cause) {
      controller.error(signal?.aborted ? signal.reason : unreachable(cause));
    }
    release();
  };
  const cancel = (reason: unknown) => {
    release();
    return reader.cancel(reason);
  };
  return new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
}

/** Reports whether a Blob can be read. fetch reports a file that was changed or removed as a failed connection. */
const isReadable = (blob: Blob): Promise<boolean> =>
  blob
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => true,
      () => false,
    );

/** Returns the milliseconds to wait before a retry. Undefined if a retry cannot help. */
function retryDelay(error: CofferError, attempt: number): number | undefined {
  if (
    error.status === undefined
      ? !['unreachable', 'timeout'].includes(error.code)
      : ![429, 502, 503, 504].includes(error.status)
  )
    return undefined;
  const own = Math.min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT) * (0.5 + Math.random());
  if (error.retryAfter === undefined) return own;
  const asked = error.retryAfter * 1000;
  return asked <= LONGEST_RETRY_AFTER ? asked + FIRST_WAIT * Math.random() : undefined;
}

function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      if (signal?.aborted) reject(signal.reason as Error);
      else resolve();
    };
    const timer = setTimeout(end, milliseconds);
    if (signal?.aborted) end();
    else signal?.addEventListener('abort', end);
  });
}

const errorClasses: Partial<Record<Code, typeof CofferError>> = {
  invalid_argument: InputError,
  malformed: InputError,
  unsupported_version: InputError,
  too_large: InputError,
  kdf_out_of_range: InputError,
  ttl_out_of_range: InputError,
  wrong_secret: KeyError,
  unknown_key: KeyError,
  key_destroyed: KeyError,
  key_unusable: KeyError,
  authentication_failed: IntegrityError,
  class_too_low: IntegrityError,
};

/** Makes the error of a code from the server. It has the class that the code has in the browser's core. */
export function makeError(code: Code, message: string): CofferError {
  return new (errorClasses[code] ?? CofferError)(code, message);
}

/** The codes of responses without a problem document: of proxies, and of the server before a handler runs. */
const codesByStatus: Record<number, Code> = {
  413: 'too_large',
  429: 'rate_limited',
  431: 'too_large',
  502: 'unreachable',
  503: 'unreachable',
  504: 'timeout',
};

/** Makes the error of a response that is not a Coffer server's. */
export const makeForeignError = (status: number): CofferError =>
  Object.assign(
    new CofferError(
      'internal',
      `the server answered with status ${status}, and not as a Coffer server does`,
    ),
    { status },
  );

/** Reads the error of a response: a problem document (RFC 9457), or anything from a proxy. */
async function readFailure(response: Response): Promise<CofferError> {
  const { status, headers } = response;
  const text = await response.text(); // rejects if the connection fails
  let problem: { code?: unknown; detail?: unknown } = {};
  if (headers.get('Content-Type')?.startsWith('application/problem+json'))
    problem = parseObject(text);
  const code = (problem.code ?? headers.get('Coffer-Code') ?? codesByStatus[status]) as
    | Code
    | undefined;
  const error = code
    ? makeError(
        code,
        typeof problem.detail === 'string'
          ? problem.detail
          : `the server answered with status ${status}`,
      )
    : makeForeignError(status);
  const retryAfter = parseRetryAfter(headers.get('Retry-After'));
  return Object.assign(
    error,
    { status },
    retryAfter !== undefined && { retryAfter },
    headers.has('X-Request-Id') && { requestId: headers.get('X-Request-Id') },
  );
}

/** Parses a JSON object. Returns an empty object if the text is not JSON. */
function parseObject(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** Parses Retry-After (RFC 9110 section 10.2.3) as seconds. */
function parseRetryAfter(text: string | null): number | undefined {
  if (!text) return undefined;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(seconds, 0);
}

/** Encodes a name as one segment of a path. Throws for `.` and `..`, which every URL parser removes even if encoded. */
function encodeSegment(name = ''): string {
  if (name === '.' || name === '..')
    throw invalid('the keys . and .. are impossible in a URL: use batch');
  return encodeURIComponent(name);
}

function encodeQuery(query: Record<string, string | number | undefined> = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length === 0
    ? ''
    : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}
