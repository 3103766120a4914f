import { useMemo, useState } from 'react';
import { kindLabels } from '../content/identify.js';
import { problemOf } from '../problem.js';
import { everything, filterItems, totals } from '../vault/filter.js';
import type { Item } from '../vault/records.js';
import { shortDateText, sizeText } from '../wording.js';
import { ClassBadge } from './ClassBadge.js';
import { Icon } from './Icon.js';
import { RecordFilter } from './RecordFilter.js';

interface Props {
  items: Item[] | null;
  chosen: string | null;
  onChoose: (id: string) => void;
}

export function RecordList({ items, chosen, onChoose }: Props) {
  const [filter, setFilter] = useState(everything);
  const counts = useMemo(() => totals(items ?? []), [items]);
  const shown = useMemo(() => filterItems(items ?? [], filter), [items, filter]);
  return (
    <section className="card records" aria-labelledby="records-title">
      <h2 id="records-title">
        In the vault {items && items.length > 0 && <span className="count">{items.length}</span>}
      </h2>
      {items?.length === 0 && (
        <p className="hint">
          Nothing yet. What you add stays in this browser, sealed, also after a reload.
        </p>
      )}
      {items && items.length > 0 && (
        <RecordFilter filter={filter} counts={counts} shown={shown.length} onChange={setFilter} />
      )}
      {items && items.length > 0 && shown.length === 0 && (
        <p className="hint">
          Nothing matches.{' '}
          <button type="button" className="button link" onClick={() => setFilter(everything)}>
            Show all
          </button>
        </p>
      )}
      <ul>
        {shown.map((item) => (
          <li key={item.id}>
            <button
              type="button"
              className="record"
              aria-current={item.id === chosen}
              onClick={() => onChoose(item.id)}
            >
              {item.about?.preview ? (
                <img className="preview" src={item.about.preview} alt="" />
              ) : (
                <Icon name={item.about?.kind ?? 'alert'} />
              )}
              <span className="record-text">
                <span className="file-name">
                  {item.about?.name ?? 'A record that does not open'}
                </span>
                <span className="hint">{detailsOf(item)}</span>
              </span>
              <ClassBadge classification={item.classification} />
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function detailsOf({ about, failure, sealedAt }: Item): string {
  if (!about) return problemOf(failure).code;
  return [kindLabels[about.kind], sizeText(about.size), shortDateText(sealedAt)].join(' · ');
}
