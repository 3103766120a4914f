/** Which records a visitor wants to see. */
import type { DataClassification } from '@coffer-storage/coffer';
import type { Item } from './records.js';

export interface Filter {
  text: string;
  /** `null` is every class. */
  classification: DataClassification | null;
}

export const everything: Filter = { text: '', classification: null };

/** The records that match, in their order. Each word of the text must be in the name, the kind or the title. */
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

/** What is stored of each class: how many records, and how many bytes of files. */
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
