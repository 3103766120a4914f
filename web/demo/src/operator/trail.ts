/** The audit trail of the page: newest events first, older events on request, and new events as they are added. */
import type { CofferClient } from '@coffer-storage/coffer/client';
import type { AuditEvent, AuditFilter } from './api.js';

/** The number of events on a page. */
export const PAGE = 25;

/** If more events than this are new at once, the trail is loaded again from the start. */
const FLOOD = 200;

/** While the trail is empty, it searches from this many milliseconds before the time of the page, because the server's clock can be behind. */
const BEHIND_MS = 60_000;

/** Each process writes its own chain, so an event can appear shortly after a later event of another process. In milliseconds. */
const LATE_MS = 2_000;

const idOf = (event: AuditEvent) => `${event.chain}:${event.seq}`;

export interface Shown {
  events: readonly AuditEvent[];
  /** Whether older events may exist. */
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

  /** Requests older events at the next refresh. */
  older(): void {
    this.#wanted = this.#events.length + PAGE;
  }

  /** Loads newer events, and older ones if requested, one call after another. */
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
      this.#source = undefined; // a generator that failed has ended: the next refresh begins again
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
