/** Keysets for the operator's page. */

const DAY = 86_400_000;

/** The share of the time to the next rotation that has passed, from 0 to 1; `null` if none is due. */
export function lived(rotatedAt: Date, nextRotationAt: Date | null, now: number): number | null {
  if (!nextRotationAt) return null;
  const whole = nextRotationAt.getTime() - rotatedAt.getTime();
  return whole > 0 ? Math.min(1, Math.max(0, (now - rotatedAt.getTime()) / whole)) : 1;
}

/** A time span in whole days, or hours below two. */
export function span(milliseconds: number): string {
  const days = Math.floor(milliseconds / DAY);
  if (days >= 2) return `${days} days`;
  const hours = Math.max(0, Math.floor(milliseconds / (DAY / 24)));
  return hours === 1 ? '1 hour' : `${hours} hours`;
}

/** Describes the state of a rotation in a sentence. */
export function sentenceOf(state: string, compromised: boolean): string {
  const known: Record<string, string> = {
    rotating: 'New keys are being made.',
    reencrypting: compromised
      ? 'The cache is being re-encrypted under the new keys at full speed.'
      : 'The cache is being re-encrypted under the new keys.',
    grace:
      'The cache is under the new keys. The former keys still open, and a rollback is possible.',
    retiring:
      'Two sweeps of the cache must find nothing under the former keys. Then they are destroyed.',
    done: 'Done: the former keys of the cache are destroyed.',
    'rolled-back':
      'Rolled back: the former keys seal again, and what was written meanwhile still opens.',
  };
  return known[state] ?? state;
}

/** Whether a rotation in this state is advancing. */
export function goesOn(state: string): boolean {
  return ['rotating', 'reencrypting', 'retiring'].includes(state);
}

/** How the keysets are on the whole, as a sentence; `null` where the server has not looked yet. */
export function agesOf(oldestPrimary: number | null, overdue: number | null): string | null {
  if (overdue === null) return null;
  const late = `${overdue || 'none'} overdue`;
  return oldestPrimary === null
    ? `Keysets: ${late}`
    : `Oldest primary ${span(oldestPrimary * 1000)}, ${late}`;
}
