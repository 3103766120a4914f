import { errorOf } from './errors.js';

/** How sensitive a value is. The order is the order of sensitivity; every write states one. */
export const DataClassification = {
  /** Published anyway: not encrypted, still authenticated. */
  PUBLIC: 'public',
  /** For internal use: preferences, interface state. */
  INTERNAL: 'internal',
  /** Business secrets: API keys, session tokens. */
  CONFIDENTIAL: 'confidential',
  /** Personally identifiable information. */
  PII: 'pii',
  /** Protected health information (45 CFR 160.103). */
  PHI: 'phi',
} as const;

/** One of `'public'`, `'internal'`, `'confidential'`, `'pii'`, `'phi'`. */
export type DataClassification = (typeof DataClassification)[keyof typeof DataClassification];

/** From the least to the most sensitive. */
export const classes: readonly DataClassification[] = Object.values(DataClassification);

/** The class's number in a header, 1 to 5. Throws `invalid_argument` for anything else: there is no default class. */
export function classNumber(name: DataClassification): number {
  const n = classes.indexOf(name) + 1;
  if (n === 0)
    throw errorOf('invalid_argument', `a classification is one of ${classes.join(', ')}`);
  return n;
}
