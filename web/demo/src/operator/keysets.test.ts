import { expect, test } from 'vitest';
import { agesOf, goesOn, lived, sentenceOf, span } from './keysets.js';

const day = 86_400_000;

test('how far a key is through its time', () => {
  const [from, to] = [new Date(0), new Date(90 * day)];
  expect([-day, 0, 45 * day, 90 * day, 200 * day].map((now) => lived(from, to, now))).toEqual([
    0, 0, 0.5, 1, 1,
  ]);
  expect(lived(from, null, 0)).toBeNull();
  expect(lived(to, from, 0)).toBe(1);
});

test('spans and states in words', () => {
  expect([0, 3_600_000, 30 * 3_600_000, 2 * day, 89.9 * day].map(span)).toEqual([
    '0 hours',
    '1 hour',
    '30 hours',
    '2 days',
    '89 days',
  ]);
  expect(sentenceOf('grace', false)).toContain('rollback');
  expect(sentenceOf('unheard-of', false)).toBe('unheard-of');
  expect(['reencrypting', 'grace', 'done', 'rolled-back'].map(goesOn)).toEqual([
    true,
    false,
    false,
    false,
  ]);
});

test('how the keysets are on the whole', () => {
  expect(agesOf(null, null)).toBeNull();
  expect(agesOf(null, 0)).toBe('Keysets: none overdue');
  expect(agesOf(89.5 * (day / 1000), 0)).toBe('Oldest primary 89 days, none overdue');
  expect(agesOf(95 * (day / 1000), 3)).toBe('Oldest primary 95 days, 3 overdue');
});
