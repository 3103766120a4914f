/** Filters the list of records. */
import type { DataClassification } from '@coffer-storage/coffer';
import type { Item } from './records.js';

export interface Filter {
  text: string;
  /** `null` means every class. */
  classification: DataClassification | null;
}

export const everything: Filter = { text: '', classification: null };

/** Returns the matching records in their order. The name, kind or title must contain each word of the text. */
export function filterItems(items: readonly Item[], { text, classification }: Filter): Item[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return items.filter(
    (item) =>
      (!classification || item.classification === classification) &&
      words.every((word) => textOf(item).includes(word)),
  );
}

function textOf({ about }: Item): string {
  return about ? `${about.name} ${about.kind} ${about.title}`.toLowerCase() : '';
}

/** Counts the records and the bytes of their files by class. */
export function totals(
  items: readonly Item[],
): Map<DataClassification, { count: number; bytes: number }> {
  const found = new Map<DataClassification, { count: number; bytes: number }>();
  for (const { classification, about } of items) {
    const total = found.get(classification) ?? { count: 0, bytes: 0 };
    found.set(classification, { count: total.count + 1, bytes: total.bytes + (about?.size ?? 0) });
  }
  return found;
}
