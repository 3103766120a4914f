import { checkOptions, invalid } from './arguments.js';

/** Settings of a client. */
export interface ClientOptions {
  /** The bearer token: one of `coffer token create`, or a JWT of the issuer that the server trusts. Spaces and line breaks around it are removed. */
  token?: string;
  /** How often a request is sent at most, where sending it again is safe: a whole number from 1, which means never again. The default is 4. */
  attempts?: number;
  /** Milliseconds that one attempt may take, its body included; 0 and `Infinity` mean no limit. The default is 60,000. A stream is bounded until it begins. */
  timeout?: number;
  /** What sends requests, if not the global `fetch`. */
  fetch?: typeof fetch;
}

/** Settings that were checked. */
export interface Settings {
  /** An absolute URL without a slash at its end. */
  base: string;
  token: string | undefined;
  attempts: number;
  /** Milliseconds; undefined means no limit. */
  timeout: number | undefined;
  fetch: typeof fetch | undefined;
}

/** setTimeout takes 32 bits: a longer time, of 25 days, would end at once. */
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

/** A relative URL is of the page's, and `''` its origin. */
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
