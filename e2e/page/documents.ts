/** The vectors of keyset documents and slots: those that a secret unlocks, and those that are refused. */
import {
  type EncryptedPackage,
  EncryptionService,
  createEncryptedStorage,
} from '@coffer-storage/coffer';
import { classes } from '../../web/src/core/classification.js';
import { uses } from '../../web/src/crypto/header.js';
import { hkdf, importSecret } from '../../web/src/crypto/primitives.js';
import { latin1 } from '../../web/src/crypto/sealer.js';
import { unlockDocument } from '../../web/src/unlock/document.js';
import { readSecret } from '../../web/src/unlock/secret.js';
import { type Outcome, every, fromHex, refused, same, toHex } from './check.js';
import { type DocumentVector, type Documents, bytesOf, file } from './files.js';
import { secretOf, unlockOf } from './readers.js';
import { core } from './rebuild.js';

const documents = () => file<Documents>('documents');

/** Each secret unlocks its document and yields exactly the keys of the roots that it opens. */
export async function unlocks(): Promise<Outcome> {
  const c = await core;
  return every((await documents()).documents, async (d) => {
    const bytes = fromHex(d.bytes);
    for (const secret of secretsOf(d)) {
      const unlock = { keyset: bytes, ...secretOf(secret) };
      const { owner, secrets } = await unlockDocument(c, bytes, readSecret(unlock));
      same('owner', owner, d.owner);
      const opened = d.slots.filter((s) => s.secret?.text === secret.text).map((s) => s.rootId);
      const keys = d.keysets
        .flatMap((s) => s.keys)
        .filter((k) => k.key && opened.includes(k.rootId));
      same('key ids', [...secrets.keys()].sort(), keys.map((k) => latin1(fromHex(k.id))).sort());
      for (const { id, key } of keys)
        same(
          'key',
          await probe(secrets.get(latin1(fromHex(id)))!),
          await probe(await importSecret(fromHex(key!))),
        );
      await new EncryptionService(unlock).initialize();
    }
  });
}

const secretsOf = (d: DocumentVector) =>
  d.slots.flatMap(({ secret }) => (secret && secret.kind !== 'kms' ? [secret] : []));

/** Something derived from a key, by which to compare two that cannot be exported. */
const probe = async (key: CryptoKey) =>
  toHex(await hkdf(key, new Uint8Array(1), new Uint8Array(2), 32));

/** Checks through the shipped package which primaries of a document seal and which are refused. */
export async function seals(): Promise<Outcome> {
  return every((await documents()).documents, async (d) => {
    const unlock = unlockOf(d);
    if (!unlock)
      return refused(
        'nothing unlocks it',
        'wrong_secret',
        new EncryptionService({ keyset: fromHex(d.bytes), password: 'x' }).initialize(),
      );
    const service = new EncryptionService(unlock);
    const root = d.slots.find(
      (s) => s.secret && Object.values(unlock).includes(s.secret.text),
    )?.rootId;
    for (const set of d.keysets) {
      if (set.class === 0) continue; // no packages are sealed with it
      const primary = set.keys.find((k) => k.id === set.primary); // undefined if no slot opens its root
      if (primary?.key && primary.rootId !== root) continue;
      const sealing = service.encrypt('v', {
        classification: classes[set.class - 1]!,
        use: uses[set.use] as 'storage',
      });
      if (!set.seals)
        await refused('seal', primary && !primary.key ? 'key_destroyed' : 'key_unusable', sealing);
      else same('primary', ((await sealing) as EncryptedPackage).metadata.keyId, set.primary);
    }
    const storage = await createEncryptedStorage(`document ${d.name}`, 's', {
      unlock,
      environment: d.environment,
    });
    storage.close();
    await refused(
      'another environment',
      'invalid_argument',
      createEncryptedStorage(`document ${d.name}`, 's', {
        unlock: { ...unlock },
        environment: 'another',
      }),
    );
  });
}

export async function refusesDocuments(): Promise<Outcome> {
  return every((await documents()).invalidDocuments, async (v) => {
    const unlock = { keyset: bytesOf(v.bytes), password: 'a password' };
    await refused('service', v.code, new EncryptionService(unlock).initialize());
    await refused('storage', v.code, createEncryptedStorage('no documents', 's', { unlock }));
  });
}

/** A document at a limit is read, and written back unchanged. */
export async function limits(): Promise<Outcome> {
  const c = await core;
  return every((await documents()).limits, (v) => {
    const bytes = bytesOf(v.bytes);
    const handle = c.check(c.call.openDocument(c.begin().bytes(bytes).length));
    same('bytes', toHex(c.output(c.call.encodeDocument(handle))), toHex(bytes));
  });
}

/** A secret that must not unlock; those of a KMS are not for browsers, which find no slot of theirs. */
export async function refusesSecrets(): Promise<Outcome> {
  // Shred records are not for browsers to verify: their key is the server's.
  return every(
    (await documents()).unlockRefusals.filter((v) => !v.shredKey),
    async (v) => {
      const code = v.secret.kind === 'kms' ? 'wrong_secret' : v.code;
      const unlock = { keyset: fromHex(v.bytes), ...secretOf(v.secret) };
      if (v.environment === undefined)
        await refused('unlock', code, new EncryptionService(unlock).initialize());
      else
        await refused(
          'unlock',
          code,
          createEncryptedStorage(`refused ${v.name}`, 's', { unlock, environment: v.environment }),
        );
    },
  );
}

/** The encodings of a single slot: each is parsed and written back unchanged, or refused. */
export async function slots(): Promise<Outcome> {
  const c = await core;
  const begin = (environment: string, owner: string) => {
    const names = new TextEncoder().encode(environment + owner);
    const length = new TextEncoder().encode(environment).length;
    return c.check(c.call.newDocument(length, c.begin().bytes(names).length - length));
  };
  const { slots, invalidSlots } = await documents();
  const valid = await every(slots, (v) => {
    const handle = begin(v.environment, v.owner);
    c.check(c.call.addSlot(handle, c.begin().bytes(fromHex(v.bytes)).length));
    same('slot', toHex(c.output(c.call.slot(handle, 0))), v.bytes);
  });
  const invalid = await every(invalidSlots, async (v) => {
    const handle = begin('', 'owner');
    await refused(
      'slot',
      v.code,
      (async () => c.check(c.call.addSlot(handle, c.begin().bytes(bytesOf(v.bytes)).length)))(),
    );
  });
  return { checked: valid.checked + invalid.checked, wrong: [...valid.wrong, ...invalid.wrong] };
}
