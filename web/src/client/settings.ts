import { checkOptions, invalid } from './arguments.js';

/** Options of the {@link CofferClient} constructor. */
export interface ClientOptions {
  /** The bearer token, made by `coffer token create` or by an issuer that the server trusts. White space around it is removed. */
  token?: string;
  /** The most attempts for a request that is safe to repeat, from 1 (no retries). Default: 4. */
  attempts?: number;
  /** The most milliseconds for one attempt, including its body. 0 and `Infinity` mean no limit. A stream is limited until it begins. Default: 60,000. */
  timeout?: number;
  /** The function that sends requests. Default: the global `fetch`. */
  fetch?: typeof fetch;
}

/** The checked settings. */
export interface Settings {
  /** An absolute URL without a slash at its end. */
  base: string;
  token: string | undefined;
  attempts: number;
  /** Milliseconds; undefined means no limit. */
  timeout: number | undefined;
  fetch: typeof fetch | undefined;
}

/** The longest delay of setTimeout. A longer one, over 25 days, would end at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Checks settings. Throws `invalid_argument`. */
export function checkSettings(baseUrl: unknown, given: ClientOptions): Settings {
  const {
    token,
    attempts = 4,
    timeout = 60_000,
    fetch,
  } = checkOptions(given, 'token', 'attempts', 'timeout', 'fetch');
  if (!(Number.isInteger(attempts) && attempts >= 1))
    throw invalid('attempts is a whole number from 1');
  if (!(typeof timeout === 'number' && timeout >= 0))
    throw invalid('timeout is a number of milliseconds, not below 0');
  if (fetch !== undefined && typeof fetch !== 'function') throw invalid('fetch is not a function');
  return {
    base: checkBaseUrl(baseUrl),
    token: checkToken(token),
    attempts,
    timeout: timeout > 0 && timeout <= LONGEST_TIMER ? timeout : undefined,
    fetch,
  };
}

function checkToken(value: unknown): string | undefined {
  const token = typeof value === 'string' ? value.trim() : value;
  if (token === undefined || token === '') return undefined;
  if (typeof token !== 'string' || !/^[!-~]+$/.test(token))
    throw invalid(
      'the token is not text, or has spaces, control characters or characters outside ASCII',
    );
  return token;
}

/** Resolves a base URL against the page's; `''` is the page's origin. */
function checkBaseUrl(value: unknown): string {
  const text = value instanceof URL ? value.href : value;
  try {
    if (typeof text === 'string' && !/[?#]/.test(text)) {
      const url = new URL(text || '/', globalThis.document?.baseURI ?? globalThis.location?.href);
      if (/^https?:$/.test(url.protocol) && !url.username && !url.password)
        return (url.origin + url.pathname).replace(/\/+$/, '');
    }
  } catch {
    // not a URL
  }
  throw invalid('the base URL is not one such as https://coffer.example');
}
