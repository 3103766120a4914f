/** The shipped package's storage against a hand-written store. */
import type { EncryptedStorage } from '../../../web/src/index.js';
import { Store } from './byhand.js';
import { type Comparison, type Operation, compare } from './compare.js';
import { MASTER_KEY, type Shipped, SIZES, bytesOf } from './values.js';

type Found = Record<string, Comparison>;

const MANY = 1000;
const TYPE = 'application/dicom';
const names = Array.from({ length: MANY }, (_, i) => `patient:P${i}`);

export async function storing({ createEncryptedStorage }: Shipped): Promise<Found> {
  const open = (name: string) =>
    createEncryptedStorage(name, 'patients', { unlock: { masterKey: MASTER_KEY } });
  const [ours, byHand] = [await open('ours'), await Store.open('by hand')];
  const found = { ...(await oneByOne(ours, byHand)), ...(await large(ours, byHand)) };
  return { ...found, ...(await many(await open('ours, many'), await Store.open('by hand, many'))) };
}

/** Each call awaited before the next. */
async function oneByOne(ours: EncryptedStorage, byHand: Store): Promise<Found> {
  const found: Found = {};
  for (const label of ['100 B', '1 KiB', '64 KiB', '1 MiB'] as const) {
    const value = bytesOf(SIZES[label]);
    const put = inTurn((name) => ours.setEncrypted(name, value, 'phi'));
    found[`put ${label}`] = await compare(
      put,
      inTurn((name) => byHand.put(name, value)),
    );
    await ours.setMany(
      few.map((name) => [name, value]),
      'phi',
    );
    await byHand.putAll(few.map((name) => [name, value]));
    const get = inTurn((name) => ours.getDecrypted(name));
    found[`get ${label}`] = await compare(
      get,
      inTurn((name) => byHand.get(name)),
    );
  }
  return found;
}

const few = names.slice(0, 16);

/** An operation on one record after the other. */
function inTurn(f: (name: string) => Promise<unknown>): Operation {
  let i = 0;
  return () => f(few[i++ % few.length] ?? '');
}

/** 16 MiB, as bytes and as a Blob, stored and read back. */
async function large(ours: EncryptedStorage, byHand: Store): Promise<Found> {
  const bytes = bytesOf(SIZES['16 MiB']);
  const blob = new Blob([bytes], { type: TYPE });
  const oursBytes = async () => (
    await ours.setEncrypted('large', bytes, 'phi'), ours.getDecrypted('large')
  );
  const byHandBytes = async () => (await byHand.put('large', bytes), byHand.get('large'));
  const oursBlob = async () => (
    await ours.setEncrypted('blob', blob, 'phi'), ours.getDecrypted('blob')
  );
  const byHandBlob = async () => (await byHand.putBlob('blob', blob), byHand.getBlob('blob', TYPE));
  return {
    'put+get 16 MiB bytes': await compare(oursBytes, byHandBytes),
    'put+get 16 MiB blob': await compare(oursBlob, byHandBlob),
  };
}

/** A thousand records of 1 KiB: as concurrent calls, as one batch, one after another, and every fourth of four thousand. */
async function many(ours: EncryptedStorage, byHand: Store): Promise<Found> {
  const value = bytesOf(SIZES['1 KiB']);
  const entries = names.map((name) => [name, value] as const);
  const atOnce =
    (f: (name: string) => Promise<unknown>, of = names) =>
    () =>
      Promise.all(of.map(f));
  const found = {
    'put 1,000 at once': await compare(
      atOnce((n) => ours.setEncrypted(n, value, 'phi')),
      atOnce((n) => byHand.put(n, value)),
    ),
    'get 1,000 at once': await compare(
      atOnce((n) => ours.getDecrypted(n)),
      atOnce((n) => byHand.get(n)),
    ),
    'put a batch of 1,000': await compare(
      () => ours.setMany(entries, 'phi'),
      () => byHand.putAll(entries),
    ),
    'get a batch of 1,000': await compare(
      () => ours.getMany(names),
      () => byHand.getAll(names),
    ),
    'entries of 1,000': await compare(
      () => drain(ours),
      () => byHand.getAll(names),
    ),
  };
  const more = Array.from({ length: 4 * MANY }, (_, i) => [`scattered:${i}`, value] as const);
  await Promise.all([ours.setMany(more, 'phi'), byHand.putAll(more)]);
  const fourth = more.filter((_, i) => i % 4 === 0).map(([name]) => name);
  const scattered = await compare(
    atOnce((n) => ours.getDecrypted(n), fourth),
    atOnce((n) => byHand.get(n), fourth),
  );
  return { ...found, 'get 1,000 scattered at once': scattered };
}

async function drain(storage: EncryptedStorage): Promise<void> {
  for await (const _ of storage.entries());
}
