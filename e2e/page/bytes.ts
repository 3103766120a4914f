/** The vectors byte by byte, through the parts of web/src: headers, additional data, keys, bodies and the two encodings. */
import { joinParts, readHeader, splitParts, uses } from '../../web/src/crypto/header.js';
import { packageFromJson, packageToJson } from '../../web/src/crypto/json.js';
import { hkdf, importSecret, keyId } from '../../web/src/crypto/primitives.js';
import { Sealer } from '../../web/src/crypto/sealer.js';
import { type Outcome, every, fromHex, refused, same, toHex } from './check.js';
import { type Documents, type Refusals, bytesOf, file, packageVectors } from './files.js';
import {
  LONG,
  additionalData,
  available,
  core,
  encodePlace,
  headerBytes,
  matches,
  metadataOf,
  rebuild,
  sealed,
  withCiphertext,
} from './rebuild.js';

export async function headers(): Promise<Outcome> {
  return every(await packageVectors(), async (v) => {
    const bytes = await headerBytes(v);
    same('written', await matches(v.headerBytes, bytes), true);
    same('read', readHeader(bytes), metadataOf(v));
  });
}

/** The id of the key, the keys derived from it, the additional data, and the body that results. */
export async function bodies(): Promise<Outcome> {
  return every(await packageVectors(), async (v) => {
    const { header: h } = v;
    const key = await importSecret(fromHex(v.key));
    same('key id', toHex(await keyId(key)), h.keyId);
    const label = new TextEncoder().encode(
      h.algorithm === 3 ? 'coffer/v1 file key' : 'coffer/v1 message key',
    );
    same('message key', toHex(await hkdf(key, fromHex(h.salt), label, 32)), v.messageKey);
    same('additional data', await matches(v.additionalData, await additionalData(v)), true);
    if (h.algorithm !== 3) same('sealed anew', await matches(v.package, await sealed(v)), true);
  });
}

/** Each encoding converts to the other. */
export async function encodings(): Promise<Outcome> {
  const c = await core;
  return every((await packageVectors()).filter(available), async (v) => {
    const bytes = await rebuild(v);
    if (bytes.length > LONG) return;
    const json = await withCiphertext(v, bytes);
    same('JSON of binary', packageToJson(c, splitParts(c, bytes)), json);
    same('binary of JSON', joinParts(packageFromJson(c, JSON.parse(JSON.stringify(json)))), bytes);
  });
}

/** Texts that no writer produces, but that must be read as the package beside them. */
export async function variants(): Promise<Outcome> {
  const c = await core;
  return every(await file<{ name: string; text: string; package: string }[]>('variants'), (v) => {
    same('binary', toHex(joinParts(packageFromJson(c, JSON.parse(v.text)))), v.package);
  });
}

/** A reader whose document has no keys: no secret unlocks it, so its sealer is made by hand. */
export async function opensNothing(): Promise<Outcome> {
  const c = await core;
  const { documents } = await file<Documents>('documents');
  const locked = new Map(
    documents.filter((d) => d.slots.length === 0).map((d) => [d.name, fromHex(d.bytes)]),
  );
  const cases = (await file<Refusals>('invalid')).open.filter((v) => locked.has(v.document ?? ''));
  return every(cases, (v) => {
    const document = locked.get(v.document ?? '')!;
    const sealer = new Sealer(c, {
      secrets: new Map(),
      open: () => c.check(c.call.openDocument(c.begin().bytes(document).length)),
    });
    const { name, ...place } = v.place;
    const prefix = encodePlace(place);
    if (name !== undefined) prefix[prefix.length - 1] = 1;
    return refused(
      'open',
      v.code,
      sealer.open(splitParts(c, bytesOf(v.package)), {
        use: uses[v.use] as 'storage',
        place: { prefix, name },
      }),
    );
  });
}
