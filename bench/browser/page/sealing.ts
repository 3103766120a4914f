/** Sealing and opening alone: the path that storage takes, without IndexedDB. */
import { loadCore, setCoreSource } from '../../../web/src/core/core.js';
import { Sealer, placePrefix } from '../../../web/src/crypto/sealer.js';
import { createDocument } from '../../../web/src/unlock/create.js';
import { unlockDocument } from '../../../web/src/unlock/document.js';
import { readSecret } from '../../../web/src/unlock/secret.js';
import { Box } from './byhand.js';
import { type Comparison, compare } from './compare.js';
import { MASTER_KEY, type Shipped, SIZES, bytesOf } from './values.js';

const NAME = 'patient:P12345';

/** `seal+open` is the Sealer beneath EncryptedStorage; `encryptBinary+decrypt` is the public call that stores nothing. */
export async function sealing({ EncryptionService }: Shipped): Promise<Record<string, Comparison>> {
  const [box, sealOpen, service] = [
    await Box.create(),
    await sealer(),
    new EncryptionService({ masterKey: MASTER_KEY }),
  ];
  const found: Record<string, Comparison> = {};
  for (const [label, size] of Object.entries(SIZES)) {
    const value = bytesOf(size);
    const byHand = async () => box.open(NAME, await box.seal(NAME, value));
    found[`seal+open ${label}`] = await compare(() => sealOpen(value), byHand);
    const options = { place: { owner: 'clinic', collection: 'patients', name: NAME } };
    const whole = async () =>
      service.decrypt(
        await service.encryptBinary(value, { classification: 'phi', ...options }),
        options,
      );
    found[`encryptBinary+decrypt ${label}`] = await compare(whole, byHand);
  }
  return found;
}

async function sealer(): Promise<(value: Uint8Array) => Promise<unknown>> {
  setCoreSource('/coffer/coffer.wasm');
  const core = await loadCore();
  const secret = readSecret({ masterKey: MASTER_KEY });
  const unlocked = await unlockDocument(
    core,
    await createDocument(core, secret, 'bench', undefined),
    secret,
  );
  const sealer = new Sealer(core, unlocked);
  const place = { prefix: placePrefix(core, unlocked.owner, 'patients', true), name: NAME };
  return async (value) =>
    sealer.open(await sealer.seal(value, { use: 'storage', classification: 'phi', place }), {
      use: 'storage',
      place,
    });
}
