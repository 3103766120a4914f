import { useState } from 'react';
import type { AuditEvent, AuditFilter } from '../../operator/api.js';
import type { Problem } from '../../problem.js';
import { dateText } from '../../wording.js';
import { ClassBadge } from '../ClassBadge.js';
import { PanelNote } from './PanelNote.js';

interface Props {
  events: readonly AuditEvent[];
  problem: Problem | null;
  filter: AuditFilter;
  more: boolean;
  onFilter: (filter: AuditFilter) => void;
  onMore: () => void;
}

const severities = ['', 'info', 'notice', 'warning', 'critical'] as const;

/** The audit trail, the newest first. */
export function AuditPanel({ events, problem, filter, more, onFilter, onMore }: Props) {
  const [action, setAction] = useState(filter.action);
  return (
    <section className="card audit" aria-labelledby="audit-title">
      <h2 id="audit-title">Audit trail</h2>
      <form
        className="audit-filter"
        onSubmit={(event) => {
          event.preventDefault();
          onFilter({ ...filter, action: action.trim() });
        }}
      >
        <label>
          Severity
          <select value={filter.severity} onChange={(event) => onFilter({ ...filter, severity: event.target.value as AuditFilter['severity'] })}>
            {severities.map((severity) => (
              <option key={severity} value={severity}>
                {severity || 'all'}
              </option>
            ))}
          </select>
        </label>
        <label>
          Action
          <input type="text" value={action} onChange={(event) => setAction(event.target.value)} placeholder="key.open" autoComplete="off" spellCheck={false} />
        </label>
        <button type="submit" className="button">
          Show
        </button>
      </form>
      <PanelNote problem={problem} scope="audit:read" />
      {events.length === 0 && !problem && <p className="hint">Nothing was recorded that fits.</p>}
      {events.length > 0 && (
        <div className="table" role="region" aria-label="Events" tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Action</th>
                <th scope="col">Outcome</th>
                <th scope="col">Who</th>
                <th scope="col">Class</th>
              </tr>
            </thead>
            <tbody>
              {events.map((event) => (
                <tr key={event.seq} className={`severity-${event.severity}`}>
                  <td>{dateText(new Date(event.time))}</td>
                  <td>
                    <code>{event.action}</code>
                  </td>
                  <td>{event.code ? <code>{event.code}</code> : event.outcome}</td>
                  <td>
                    {event.tenant} <span className="hint">{event.subject}</span>
                  </td>
                  <td>{event.class && <ClassBadge classification={event.class} />}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more && (
        <button type="button" className="button quiet" onClick={onMore}>
          Older
        </button>
      )}
    </section>
  );
}
