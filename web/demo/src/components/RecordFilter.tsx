import type { DataClassification } from '@coffer-storage/coffer';
import { useId } from 'react';
import type { Filter } from '../vault/filter.js';
import { classifications } from '../wording.js';

interface Props {
  filter: Filter;
  counts: ReadonlyMap<DataClassification, { count: number }>;
  shown: number;
  onChange: (filter: Filter) => void;
}

/** Filters the list by text and by class. Classes without records are not offered. */
export function RecordFilter({ filter, counts, shown, onChange }: Props) {
  const id = useId();
  return (
    <search className="filter">
      <label htmlFor={id} className="visually-hidden">
        Search the records
      </label>
      <input
        id={id}
        type="search"
        placeholder="Search by name"
        value={filter.text}
        onChange={(event) => onChange({ ...filter, text: event.target.value })}
        autoComplete="off"
        spellCheck={false}
      />
      <div className="filter-classes" role="group" aria-label="Class">
        {classifications
          .filter(({ name }) => counts.has(name))
          .map(({ name, label }) => (
            <button
              key={name}
              type="button"
              className={`button chip class-chip class-${name}`}
              aria-pressed={filter.classification === name}
              onClick={() =>
                onChange({
                  ...filter,
                  classification: filter.classification === name ? null : name,
                })
              }
            >
              {label} <small>{counts.get(name)?.count}</small>
            </button>
          ))}
      </div>
      <p className="visually-hidden" role="status">
        {shown === 1 ? '1 record is shown.' : `${shown} records are shown.`}
      </p>
    </search>
  );
}
