import { useEffect, useState } from 'react';
import { totals } from '../vault/filter.js';
import type { Item } from '../vault/records.js';
import { classifications, sizeText } from '../wording.js';

/** The size of each class in the vault, and the quota of the browser. */
export function StorageMeter({ items }: { items: readonly Item[] }) {
  const [estimate, setEstimate] = useState<StorageEstimate>({});
  // Not every engine reports the usage and the quota.
  useEffect(() => void navigator.storage?.estimate?.().then(setEstimate, () => undefined), [items]);
  const found = totals(items);
  const bytes = [...found.values()].reduce((sum, total) => sum + total.bytes, 0);
  if (bytes === 0) return null;
  const classes = classifications.filter(({ name }) => found.get(name)?.bytes);
  const { usage = 0, quota } = estimate;
  return (
    <section className="card meter" aria-labelledby="meter-title">
      <h2 id="meter-title">
        Storage <span className="count">{sizeText(bytes)} of files</span>
      </h2>
      <div className="meter-bar" aria-hidden="true">
        {classes.map(({ name }) => (
          <span
            key={name}
            className={`class-${name}`}
            style={{ flexGrow: found.get(name)?.bytes }}
          />
        ))}
      </div>
      <dl className="meter-classes">
        {classes.map(({ name, label }) => (
          <div key={name}>
            <dt>
              <span className={`dot class-${name}`} aria-hidden="true" /> {label}
            </dt>
            <dd>{sizeText(found.get(name)?.bytes ?? 0)}</dd>
          </div>
        ))}
      </dl>
      {quota && (
        <p className="hint">
          This site uses {sizeText(usage)} of the {sizeText(quota)} that the browser allows.
        </p>
      )}
    </section>
  );
}
