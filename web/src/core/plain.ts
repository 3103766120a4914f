/** Checks for object literals and JSON values of any realm. */

/** Whether a value is an object literal, of whatever realm, and not one of a class. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as object | null;
  return (
    prototype === null ||
    (Object.getPrototypeOf(prototype) === null && 'isPrototypeOf' in prototype)
  ); // as Object.prototype has it
}

/**
 * Whether JSON carries a value without loss, but for members that are undefined. `leaf` decides about its texts, names and numbers.
 * The value has no cycle. Throws a RangeError for one that is too deep.
 */
export function isJson(v: unknown, leaf: (v: string | number) => boolean): boolean {
  if (typeof v === 'string' || typeof v === 'number') return leaf(v);
  // Array.from, because `every` passes over holes.
  if (Array.isArray(v))
    return (
      isPlain(Object.getPrototypeOf(v)) &&
      isWhole(v, v.length + 1) &&
      Array.from(v).every((x) => isJson(x, leaf))
    );
  if (!isPlain(v)) return v === null || typeof v === 'boolean';
  const members = Object.entries(v);
  return (
    isWhole(v, members.length) &&
    members.every(([name, x]) => leaf(name) && (x === undefined || isJson(x, leaf)))
  );
}

/** Whether an object has at most n texts as names, and no symbols but hidden ones, which frameworks add. */
function isWhole(v: object, n: number): boolean {
  return (
    Object.getOwnPropertyNames(v).length <= n &&
    !Object.getOwnPropertySymbols(v).some((s) => Object.getOwnPropertyDescriptor(v, s)?.enumerable)
  );
}

/** JSON.stringify, but -0 stays what it is. */
export function stringify(value: unknown): string {
  const mark = crypto.getRandomValues(new Uint32Array(4)).join();
  return JSON.stringify(value, (_, v: unknown) => (Object.is(v, -0) ? mark : v)).replaceAll(
    `"${mark}"`,
    '-0',
  );
}
