/** Checks for object literals and JSON values of any realm. */

/** Reports whether a value is an object literal of any realm, not an instance of a class. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as object | null;
  return (
    prototype === null ||
    (Object.getPrototypeOf(prototype) === null && 'isPrototypeOf' in prototype)
  ); // the prototype is an Object.prototype
}

/**
 * Reports whether JSON reproduces a value, except for members that are undefined. `leaf` decides about its strings,
 * names and numbers. The value must not have a cycle. Throws a RangeError if it is nested too deeply.
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

/** Reports whether an object has at most n names, and no enumerable symbols. Frameworks add hidden ones. */
function isWhole(v: object, n: number): boolean {
  return (
    Object.getOwnPropertyNames(v).length <= n &&
    !Object.getOwnPropertySymbols(v).some((s) => Object.getOwnPropertyDescriptor(v, s)?.enumerable)
  );
}

/** Like JSON.stringify, but keeps -0. */
export function stringify(value: unknown): string {
  const mark = crypto.getRandomValues(new Uint32Array(4)).join();
  return JSON.stringify(value, (_, v: unknown) => (Object.is(v, -0) ? mark : v)).replaceAll(
    `"${mark}"`,
    '-0',
  );
}
