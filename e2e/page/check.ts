/** Helpers of the checks that run in a page. */

/** The number of cases that were checked, and the failures. */
export interface Outcome {
  checked: number;
  wrong: string[];
}

/** Runs a check over all cases; one that throws is wrong. */
export async function every<T extends { name: string }>(
  cases: readonly T[],
  check: (c: T) => unknown,
): Promise<Outcome> {
  const outcome: Outcome = { checked: 0, wrong: [] };
  for (const c of cases) {
    outcome.checked++;
    try {
      await check(c);
    } catch (error) {
      outcome.wrong.push(`${c.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return outcome;
}

/** Throws unless both are the same as JSON, members in any order. */
export function same(what: string, got: unknown, want: unknown): void {
  const [a, b] = [text(got), text(want)];
  if (a !== b) throw new Error(`${what}: got ${a.slice(0, 300)}, want ${b.slice(0, 300)}`);
}

/** Throws unless the promise rejects with the code. */
export async function refused(
  what: string,
  code: string,
  promise: Promise<unknown>,
): Promise<void> {
  const got = await codeOf(promise);
  if (got !== code) throw new Error(`${what}: got ${got}, want ${code}`);
}

/** Returns the code with which a promise rejects. If it does not reject with a code, returns a description of its result. */
export function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    (value) => `the value ${text(value)}`,
    (error: { code?: unknown }) =>
      typeof error?.code === 'string' ? error.code : `the error ${String(error)}`,
  );
}

function text(value: unknown): string {
  const sorted = (_key: string, v: unknown) => {
    if (v instanceof Uint8Array) return toHex(v);
    if (typeof v !== 'object' || v === null || Array.isArray(v)) return v;
    return Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  return JSON.stringify(value, sorted) ?? String(value);
}

export function toHex(b: Uint8Array): string {
  return Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('');
}

export function fromHex(s: string): Uint8Array<ArrayBuffer> {
  const b = new Uint8Array(s.length / 2);
  for (let i = 0; i < b.length; i++) b[i] = parseInt(s.slice(2 * i, 2 * i + 2), 16);
  return b;
}
