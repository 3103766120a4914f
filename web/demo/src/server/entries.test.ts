import { expect, test } from 'vitest';
import { countdown } from './entries.js';

test('a countdown', () => {
  const shown = [-5, 0, 1, 1000, 59_001, 61_000, 3_599_999, 3_600_000, 86_399_000].map(countdown);
  expect(shown).toEqual(['0:00', '0:00', '0:01', '0:01', '1:00', '1:01', '1:00:00', '1:00:00', '23:59:59']);
});
