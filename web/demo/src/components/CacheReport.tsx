import { labelOf, sizeText } from '../wording.js';
import { Facts } from './Facts.js';
import { HexView } from './HexView.js';
import { Icon } from './Icon.js';
import type { CacheState } from './ServerView.js';

/** The result of the last call: whether the value is equal, and the package in the cache. */
export function CacheReport({ state: { said, back, sealed } }: { state: CacheState }) {
  return (
    <>
      <p className={back && !back.equal ? 'verdict wrong' : 'verdict'} role="status">
        <Icon name={back && !back.equal ? 'alert' : 'check'} />
        <span>
          {said}{' '}
          {back &&
            (back.equal
              ? `Equal, byte for byte: ${sizeText(back.value.length)}.`
              : 'It is not the file in the vault.')}
        </span>
      </p>
      {back && sealed && (
        <>
          <h3>The package in the cache</h3>
          <Facts
            rows={[
              ['Class', labelOf(back.class)],
              ['Server’s key', `${back.keyId.slice(0, 12)}…`],
              ['Size', sizeText(sealed.value.length)],
            ]}
          />
          <HexView
            bytes={sealed.value}
            label={`The package in the cache, ${sizeText(sealed.value.length)}, in hexadecimal`}
          />
        </>
      )}
    </>
  );
}
