import { errorOf } from './errors.js';

/** The classes of data in the order of sensitivity. Every write states one. */
export const DataClassification = {
  /** Published information. It is authenticated but not encrypted. */
  PUBLIC: 'public',
  /** Internal information, such as preferences and interface state. */
  INTERNAL: 'internal',
  /** Business secrets, such as API keys and session tokens. */
  CONFIDENTIAL: 'confidential',
  /** Personally identifiable information. */
  PII: 'pii',
  /** Protected health information (45 CFR 160.103). */
  PHI: 'phi',
} as const;

/** A class: `'public'`, `'internal'`, `'confidential'`, `'pii'` or `'phi'`. */
export type DataClassification = (typeof DataClassification)[keyof typeof DataClassification];

/** The classes from the least to the most sensitive. */
export const classes: readonly DataClassification[] = Object.values(DataClassification);

/** Returns a class's number in a header, 1 to 5. Throws `invalid_argument` for anything else; a default class does not exist. */
export function classNumber(name: DataClassification): number {
  const n = classes.indexOf(name) + 1;
  if (n === 0)
    throw errorOf('invalid_argument', `a classification is one of ${classes.join(', ')}`);
  return n;
}
