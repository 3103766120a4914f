/**
 * Carries a function call into a page and its outcome back, as text, so that the three protocols
 * differ only in how they run one expression. Nothing here uses eval in the page: it works under a
 * Content-Security-Policy without 'unsafe-eval'.
 */

type Outcome =
  | { value?: unknown }
  | { error: { name: string; message: string; code?: string | number; stack?: string } };

/** An error thrown in a page: name, message, code and stack are those of the page. */
export class PageError extends Error {
  readonly code: string | number | undefined;

  constructor(thrown: { name: string; message: string; code?: string | number; stack?: string }) {
    super(thrown.message);
    this.name = thrown.name;
    this.code = thrown.code;
    this.stack = `${thrown.name}: ${thrown.message}\n${thrown.stack ?? ''}\n${this.stack ?? ''}`;
  }
}

interface Base64 {
  toBase64(bytes: Uint8Array): string;
  fromBase64(text: string): Uint8Array;
}

const NODE_BASE64: Base64 = {
  toBase64: ({ buffer, byteOffset, length }) =>
    Buffer.from(buffer, byteOffset, length).toString('base64'),
  fromBase64: (text) => new Uint8Array(Buffer.from(text, 'base64')),
};
/** The same in a page, as source: the three engines have these methods, Node 20 and TypeScript do not. */
const PAGE_BASE64 =
  '{ toBase64: (bytes) => bytes.toBase64(), fromBase64: (text) => Uint8Array.fromBase64(text) }';

/** JSON with bytes as {"$bytes": base64}. Runs here and, from its source, in the page. */
function codec({ toBase64, fromBase64 }: Base64) {
  const encode = (value: unknown): string =>
    JSON.stringify(value, function (this: Record<string, unknown>, key, json) {
      const raw = this[key]; // before toJSON, which a Node Buffer has
      if (raw instanceof Uint8Array) return { $bytes: toBase64(raw) };
      if (raw instanceof ArrayBuffer) return { $bytes: toBase64(new Uint8Array(raw)) };
      return json;
    });
  const decode = (text: string): unknown =>
    JSON.parse(text, (_key, json) =>
      typeof json?.$bytes === 'string' ? fromBase64(json.$bytes) : json,
    );
  return { encode, decode };
}

const { encode, decode } = codec(NODE_BASE64);

/** Runs in the page, from its source: it must stand alone. */
async function run(
  { encode, decode }: ReturnType<typeof codec>,
  fn: (...args: unknown[]) => unknown,
  args: string,
): Promise<string> {
  await null; // Firefox applies the page's policy only once the injected script itself has ended
  try {
    return encode({ value: await fn(...(decode(args) as unknown[])) });
  } catch (thrown) {
    const { name, message, code, stack } = (thrown ?? {}) as Error & { code?: string | number };
    return encode({
      error: { name: name ?? 'Error', message: message ?? String(thrown), code, stack },
    });
  }
}

/** The source of an expression: a promise of the call's outcome as text, which never rejects. */
export function callExpression(
  fn: string | ((...args: never[]) => unknown),
  args: unknown[],
): string {
  const quoted = JSON.stringify(encode(args));
  // vitest rewrites `import(x)` inside functions into this name, which a page lacks. Resolved by
  // hand because injected scripts have no address of their own.
  return `((__vite_ssr_dynamic_import__) => (${run})((${codec})(${PAGE_BASE64}), (${fn}), ${quoted}))(
    (url) => import(new URL(url, document.baseURI).href))`;
}

/** Parses the outcome of a call and returns its result. @throws PageError if the call threw */
export function readOutcome(text: string): unknown {
  const outcome = decode(text) as Outcome;
  if ('error' in outcome) throw new PageError(outcome.error);
  return outcome.value;
}
