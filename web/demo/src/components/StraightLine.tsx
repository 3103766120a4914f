import type { Item } from '../vault/records.js';
import { labelOf, shortDateText, sizeText } from '../wording.js';
import { Icon, type IconName } from './Icon.js';

type Step = readonly [icon: IconName, title: string, caption: string];

/** The steps from value to store, or those of the chosen record. */
export function StraightLine({ item }: { item: Item | null }) {
  const steps = item ? stepsOf(item) : general;
  return (
    <section className="line" aria-label="How Coffer stores a value">
      <ol key={item?.id}>
        {steps.map(([icon, title, caption]) => (
          <li
            key={title}
            className={icon === 'seal' || icon === 'package' || icon === 'store' ? 'sealed' : ''}
          >
            <span className="line-icon">
              <Icon name={icon} />
            </span>
            <span className="line-title">{title}</span>
            <span className="line-caption">{caption}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}

const general: readonly Step[] = [
  ['value', 'Value', 'a scan, a record, a token'],
  ['classify', 'Classify', 'public … PHI: the class selects key and rules'],
  ['seal', 'Seal', 'AES-256-GCM; class, place and time are authenticated'],
  ['package', 'Package', 'one format in browser and server'],
  ['store', 'Store', 'IndexedDB here, Redis or SQLite there'],
];

function stepsOf({ about, classification, sealedAt }: Item): readonly Step[] {
  const open = classification === 'public';
  return [
    ['value', 'Value', about ? `${about.name}, ${sizeText(about.size)}` : 'cannot be opened'],
    ['classify', 'Classify', labelOf(classification)],
    ['seal', 'Seal', open ? 'readable, and authenticated' : 'AES-256-GCM, a key per class'],
    ['package', 'Package', `sealed ${shortDateText(sealedAt)}`],
    ['store', 'Store', 'IndexedDB on this device'],
  ];
}
