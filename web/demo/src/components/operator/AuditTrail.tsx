import type { CofferClient } from 'coffer/client';
import { useCallback, useEffect, useRef, useState } from 'react';
import type { AuditEvent, AuditFilter } from '../../operator/api.js';
import type { Problem } from '../../problem.js';
import { AuditPanel } from './AuditPanel.js';

const PAGE = 25;

interface Props {
  client: CofferClient;
  note: (error: unknown) => Problem;
}

/** The audit trail with its filter, page by page into the past. */
export function AuditTrail({ client, note }: Props) {
  const [filter, setFilter] = useState<AuditFilter>({ action: '', severity: '' });
  const [events, setEvents] = useState<AuditEvent[]>([]);
  const [more, setMore] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const source = useRef<AsyncGenerator<AuditEvent>>(undefined);

  /** Takes as many events as a page has; nothing of a source that another filter has replaced. */
  const take = useCallback(
    async (from: AsyncGenerator<AuditEvent>) => {
      const taken: AuditEvent[] = [];
      try {
        while (taken.length < PAGE) {
          const { value, done } = await from.next();
          if (done) break;
          taken.push(value);
        }
      } catch (error) {
        if (source.current === from) setProblem(note(error));
      }
      if (source.current !== from) return;
      setEvents((all) => [...all, ...taken]);
      setMore(taken.length === PAGE);
    },
    [note],
  );

  useEffect(() => {
    const { action, severity } = filter;
    const from = client.events({ pageSize: PAGE, ...(action && { action }), ...(severity && { severity }) });
    source.current = from;
    setEvents([]);
    setProblem(null);
    void take(from);
  }, [client, filter, take]);

  return <AuditPanel events={events} problem={problem} filter={filter} more={more} onFilter={setFilter} onMore={() => source.current && void take(source.current)} />;
}
