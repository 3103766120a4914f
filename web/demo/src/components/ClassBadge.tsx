import type { DataClassification } from '@coffer-storage/coffer';
import { labelOf } from '../wording.js';

export function ClassBadge({ classification }: { classification: DataClassification }) {
  return <span className={`badge class-${classification}`}>{labelOf(classification)}</span>;
}
