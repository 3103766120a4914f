/** Formats sizes, dates and classes. */
import type { DataClassification } from '@coffer-storage/coffer';

export const classifications: readonly {
  name: DataClassification;
  label: string;
  example: string;
}[] = [
  { name: 'public', label: 'Public', example: 'Not encrypted, but protected against changes' },
  { name: 'internal', label: 'Internal', example: 'Preferences, interface state' },
  { name: 'confidential', label: 'Confidential', example: 'Contracts, API keys' },
  { name: 'pii', label: 'PII', example: 'Names, addresses, portraits' },
  { name: 'phi', label: 'PHI', example: 'Images, findings, records of a patient' },
];

export function labelOf(classification: string): string {
  return classifications.find(({ name }) => name === classification)?.label ?? classification;
}

const units = ['KB', 'MB', 'GB', 'TB'];

/** Formats a size in bytes: `312 B`, `128.3 KB`, `4.1 MB` (powers of 1,024). */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes}\u00a0B`;
  const power = Math.min(units.length, Math.floor(Math.log2(bytes) / 10));
  const [value, unit] = [bytes / 1024 ** power, units[power - 1]];
  return `${value < 100 ? value.toFixed(1) : Math.round(value)}\u00a0${unit}`;
}

/** Formats a date in the visitor's language and time zone, to the minute. */
export function dateText(date: Date): string {
  return date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

/** Formats a date to the second. */
export function momentText(date: Date): string {
  return date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** Formats a date briefly: the time if it is today, otherwise the date. */
export function shortDateText(date: Date): string {
  const today = date.toDateString() === new Date().toDateString();
  return today
    ? date.toLocaleTimeString(undefined, { timeStyle: 'short' })
    : date.toLocaleDateString(undefined, { dateStyle: 'medium' });
}
