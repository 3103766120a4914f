import type { FormEvent } from 'react';
import type { DataClassification } from '@coffer-storage/coffer';
import type { AuditEvent, AuditFilter } from '../../operator/api.js';
import { classifications } from '../../wording.js';

const severities: readonly AuditEvent['severity'][] = ['info', 'notice', 'warning', 'critical'];

/** The filter of the audit trail. Choices apply at once, typed text when it is submitted. */
export function AuditFilterForm({ onFilter }: { onFilter: (filter: AuditFilter) => void }) {
  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const given = new FormData(event.currentTarget);
    const text = (name: string) => String(given.get(name) ?? '').trim();
    const [tenant, action, severity, only, since] = [
      'tenant',
      'action',
      'severity',
      'class',
      'since',
    ].map(text);
    onFilter({
      ...(tenant && { tenant }),
      ...(action && { action }),
      ...(severity && { severity: severity as AuditEvent['severity'] }),
      ...(only && { class: only as DataClassification }),
      ...(since && { since: new Date(since) }),
    });
  }
  const send = (event: { currentTarget: HTMLSelectElement }) =>
    event.currentTarget.form?.requestSubmit();
  return (
    <form className="audit-filter" onSubmit={submit} aria-label="Which events">
      <label>
        Severity, at least
        <select name="severity" onChange={send}>
          <option value="">all</option>
          {severities.map((severity) => (
            <option key={severity}>{severity}</option>
          ))}
        </select>
      </label>
      <label>
        Class
        <select name="class" onChange={send}>
          <option value="">all</option>
          {classifications.map(({ name, label }) => (
            <option key={name} value={name}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <label>
        Action
        <input
          name="action"
          type="text"
          placeholder="key.open"
          maxLength={64}
          autoComplete="off"
          spellCheck={false}
        />
      </label>
      <label>
        Tenant
        <input name="tenant" type="text" placeholder="all" autoComplete="off" spellCheck={false} />
      </label>
      <label>
        Since
        <input name="since" type="datetime-local" />
      </label>
      <button type="submit" className="button">
        Show
      </button>
    </form>
  );
}
