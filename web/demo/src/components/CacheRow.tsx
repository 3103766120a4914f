import { type CacheItem, countdown, shareLeft } from '../server/entries.js';
import { ClassBadge } from './ClassBadge.js';

interface Props {
  item: CacheItem;
  now: number;
  chosen: boolean;
  onChoose: (key: string) => void;
}

/** A row for an entry, with its remaining time. */
export function CacheRow({ item, now, chosen, onChoose }: Props) {
  return (
    <li>
      <button
        type="button"
        className="record"
        aria-current={chosen}
        onClick={() => onChoose(item.key)}
      >
        <span className="record-text">
          <span className="file-name">{item.key}</span>
          <Life item={item} now={now} />
        </span>
        <ClassBadge classification={item.classification} />
      </button>
    </li>
  );
}

/** The remaining time of an entry, as a number and a bar. */
export function Life({ item, now }: Pick<Props, 'item' | 'now'>) {
  const { endsAt, had } = item;
  if (endsAt === null || had === null) return <span className="hint">without an end</span>;
  const left = Math.min(had, Math.max(0, endsAt - now)); // `now` changes once a second
  return (
    <span className="life hint">
      <span className="life-bar" aria-hidden="true">
        <span style={{ width: `${shareLeft(item, left) * 100}%` }} />
      </span>
      <span className="life-left">{countdown(left)} left</span>
    </span>
  );
}
