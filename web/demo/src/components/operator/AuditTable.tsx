import type { AuditEvent } from '../../operator/api.js';
import { momentText } from '../../wording.js';
import { ClassBadge } from '../ClassBadge.js';

/** Events of the audit log, newest first. */
export function AuditTable({ events }: { events: readonly AuditEvent[] }) {
  return (
    <div className="table event-table" role="region" aria-label="Events" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Severity</th>
            <th scope="col">Action</th>
            <th scope="col">Outcome</th>
            <th scope="col">Who</th>
            <th scope="col">Class</th>
          </tr>
        </thead>
        <tbody>
          {events.map((event) => (
            <tr key={`${event.chain}:${event.seq}`} className={`severity-${event.severity}`}>
              <td>{momentText(new Date(event.time))}</td>
              <td>{event.severity}</td>
              <td>
                <code>{event.action}</code>
              </td>
              <td>
                {event.code ? (
                  <code>{event.code}</code>
                ) : event.facts?.phase === 'asked' ? (
                  'asked'
                ) : (
                  event.outcome
                )}
              </td>
              <td>
                {event.tenant} <span className="hint">{event.subject}</span>
              </td>
              <td>{event.class && <ClassBadge classification={event.class} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
