/** The audit trail as a page shows it: the newest events first, older ones as far as they are asked for, and what is added meanwhile. */
import type { CofferClient } from '@coffer-storage/coffer/client';
import type { AuditEvent, AuditFilter } from './api.js';

/** How many events a page shows at first, and adds. */
export const PAGE = 25;

/** So many events that came at once are not put before the others: the trail begins anew. */
const FLOOD = 200;

/** Where nothing fits yet, what is newer is looked for from a little before the page's own time: the server's clock may be behind. */
const BEHIND_MS = 60_000;

/** Each process writes a chain of its own: one's event can appear a moment after a later one of another's. */
const LATE_MS = 2_000;

const idOf = (event: AuditEvent) => `${event.chain}:${event.seq}`;

export interface Shown {
  events: readonly AuditEvent[];
  /** Whether there may be older ones. */
  more: boolean;
}

export class Trail {
  readonly #client: Pick<CofferClient, 'events'>;
  readonly #filter: AuditFilter;
  #begun = 0;
  #events: AuditEvent[] = [];
  #source: AsyncGenerator<AuditEvent> | undefined;
  #more = true;
  #wanted = PAGE;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(client: Pick<CofferClient, 'events'>, filter: AuditFilter) {
    this.#client = client;
    this.#filter = filter;
  }

  /** Has the next refresh bring older events too. */
  older(): void {
    this.#wanted = this.#events.length + PAGE;
  }

  /** Brings what is newer and what is wanted of the older ones, one call after another. */
  refresh(): Promise<Shown> {
    const done = this.#turn.then(async () => {
      if (this.#source) await this.#newer();
      await this.#fill();
      return { events: [...this.#events], more: this.#more };
    });
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #fill(): Promise<void> {
    if (!this.#source) this.#begin();
    try {
      while (this.#more && this.#events.length < this.#wanted) {
        const { value, done } = await this.#source!.next();
        if (done) this.#more = false;
        else this.#events.push(value);
      }
    } catch (error) {
      this.#source = undefined; // a generator that failed has ended: the next refresh begins anew
      throw error;
    }
  }

  #begin(): void {
    this.#begun = Date.now();
    this.#events = [];
    this.#more = true;
    this.#source = this.#client.events({ ...this.#filter, pageSize: PAGE });
  }

  async #newer(): Promise<void> {
    const [newest] = this.#events;
    const since = newest
      ? new Date(Date.parse(newest.time) - LATE_MS)
      : new Date(Math.max(this.#begun - BEHIND_MS, this.#filter.since?.getTime() ?? 0));
    const shown = new Set(this.#events.map(idOf));
    const found: AuditEvent[] = [];
    for await (const event of this.#client.events({ ...this.#filter, since, pageSize: PAGE })) {
      if (shown.has(idOf(event))) continue;
      if (found.push(event) > FLOOD) {
        this.#wanted = PAGE;
        return this.#begin();
      }
    }
    this.#events.unshift(...found);
    this.#wanted += found.length;
  }
}
