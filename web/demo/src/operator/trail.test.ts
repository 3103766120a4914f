import { expect, test } from 'vitest';
import type { AuditEvent } from './api.js';
import { PAGE, Trail } from './trail.js';

/** A log of events, one each second, with the interface of the client. */
function logOf(count: number) {
  const log = Array.from({ length: count }, (_, i) => eventOf(i + 1));
  let down = false;
  async function* events({ since }: { since?: Date } = {}) {
    for (const event of [...log].reverse()) {
      if (down) throw new Error('unreachable');
      if (since && new Date(event.time) < since) return;
      yield event;
    }
  }
  const add = (n: number) =>
    void log.push(
      ...Array.from({ length: n }, () => eventOf(log.length + 1)).map((event, i) => ({
        ...event,
        seq: event.seq + i,
      })),
    );
  const late = (event: AuditEvent) => void log.splice(log.length - 1, 0, event);
  return { client: { events }, add, late, fail: (now: boolean) => (down = now) };
}

const eventOf = (seq: number) =>
  ({ chain: 1, seq, time: new Date(seq * 1000).toISOString() }) as AuditEvent;
const numbers = (events: readonly AuditEvent[]) => events.map(({ seq }) => seq);
const down = (from: number, to: number) =>
  Array.from({ length: from - to + 1 }, (_, i) => from - i);

test('what is added comes before the others, once, and older events are added at the end', async () => {
  const log = logOf(60);
  const trail = new Trail(log.client, {});
  const first = await trail.refresh();
  expect([numbers(first.events), first.more]).toEqual([down(60, 60 - PAGE + 1), true]);
  log.add(3);
  const both = await Promise.all([trail.refresh(), trail.refresh()]);
  for (const { events } of both) expect(numbers(events)).toEqual(down(63, 60 - PAGE + 1));
  trail.older();
  trail.older();
  const older = await trail.refresh();
  expect([numbers(older.events), older.more]).toEqual([down(63, 60 - 2 * PAGE + 1), true]);
  trail.older();
  const all = await trail.refresh();
  expect([numbers(all.events), all.more]).toEqual([down(63, 1), false]);
});

test('an event of another process that comes a moment late is shown, and none twice', async () => {
  const log = logOf(30);
  const trail = new Trail(log.client, {});
  await trail.refresh();
  log.late({ ...eventOf(29), chain: 2 });
  const { events } = await trail.refresh();
  expect(events.map(({ chain, seq }) => `${chain}:${seq}`).slice(0, 3)).toEqual([
    '2:29',
    '1:30',
    '1:29',
  ]);
  expect(events).toHaveLength(PAGE + 1);
});

test('after a failure the trail goes on, and after a flood it begins anew', async () => {
  const log = logOf(30);
  const trail = new Trail(log.client, {});
  log.fail(true);
  await expect(trail.refresh()).rejects.toThrow('unreachable');
  log.fail(false);
  expect(numbers((await trail.refresh()).events)).toEqual(down(30, 6));
  log.fail(true);
  await expect(trail.refresh()).rejects.toThrow('unreachable');
  log.fail(false);
  log.add(500);
  expect(numbers((await trail.refresh()).events)).toEqual(down(530, 530 - PAGE + 1));
});
