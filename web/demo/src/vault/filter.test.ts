import { describe, expect, test } from 'vitest';
import { everything, filterItems, totals } from './filter.js';
import type { Item } from './records.js';

const item = (
  name: string,
  classification: Item['classification'],
  title = '',
  size = 10,
): Item => ({
  id: name,
  classification,
  context: {},
  sealedAt: new Date(0),
  failure: null,
  about: { name, kind: 'dicom', size, title },
});
const items = [
  item('chest.dcm', 'phi', 'Marta Lindqvist'),
  item('head.dcm', 'phi', '', 20),
  item('notes.txt', 'internal'),
];
const names = (found: Item[]) => found.map(({ id }) => id);

describe('filterItems', () => {
  test('everything is the default', () => expect(filterItems(items, everything)).toEqual(items));
  test('by words of name and title, in any order and case', () => {
    expect(names(filterItems(items, { text: 'LINDQVIST  chest', classification: null }))).toEqual([
      'chest.dcm',
    ]);
    expect(filterItems(items, { text: 'chest head', classification: null })).toEqual([]);
  });
  test('by class', () => {
    expect(names(filterItems(items, { text: '', classification: 'phi' }))).toEqual([
      'chest.dcm',
      'head.dcm',
    ]);
    expect(filterItems(items, { text: 'notes', classification: 'phi' })).toEqual([]);
  });
  test('a record that does not open is found without a text only', () => {
    const broken = { ...item('x', 'phi'), about: null };
    expect(filterItems([broken], everything)).toEqual([broken]);
    expect(filterItems([broken], { text: 'x', classification: null })).toEqual([]);
  });
});

test('totals by class', () => {
  expect([...totals(items)]).toEqual([
    ['phi', { count: 2, bytes: 30 }],
    ['internal', { count: 1, bytes: 10 }],
  ]);
});
