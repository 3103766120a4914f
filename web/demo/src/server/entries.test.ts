import { expect, test } from 'vitest';
import { countdown, shareLeft } from './entries.js';

test('a countdown', () => {
  const shown = [-5, 0, 1, 1000, 59_001, 61_000, 3_599_999, 3_600_000, 86_399_000].map(countdown);
  expect(shown).toEqual([
    '0:00',
    '0:00',
    '0:01',
    '0:01',
    '1:00',
    '1:01',
    '1:00:00',
    '1:00:00',
    '23:59:59',
  ]);
  expect([86_400_000, 6.2 * 86_400_000].map(countdown)).toEqual(['1 d 0 h', '6 d 4 h']);
});

test('the share of a life that is left', () => {
  const item = { encryptedAt: new Date(1000), endsAt: 5000 };
  expect([4000, 1000, 0].map((left) => shareLeft(item, left))).toEqual([1, 0.25, 0]);
  expect(shareLeft({ encryptedAt: new Date(9000), endsAt: 5000 }, 2000)).toBe(1); // sealed by a clock that is ahead
});
