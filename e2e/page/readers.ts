/** The services that open the vectors, one for each document or secret. Each is created once. */
import { EncryptionService, type Unlock, type UnlockSecret } from '@coffer-storage/coffer';
import { fromHex } from './check.js';
import { type DocumentVector, type Documents, type VectorSecret, file } from './files.js';

export type Reader = (
  document: string | undefined,
  secret: VectorSecret | undefined,
) => EncryptionService;

/** The member of an Unlock that has a vector's secret. A browser has no KMS, so a KMS key is passed as a password. */
export const secretOf = ({ kind, text }: VectorSecret): UnlockSecret =>
  kind === 'master-key' ? { masterKey: text } : { password: text };

/** The secret of a document. A master key is preferred, because it needs no PBKDF2. Undefined if no slot is for browsers. */
export function unlockOf(document: DocumentVector): Unlock | undefined {
  const secrets = document.slots
    .filter((s) => s.secret && s.secret.kind !== 'kms')
    .map((s) => s.secret as VectorSecret);
  const secret = secrets.find((s) => s.kind === 'master-key') ?? secrets[0];
  return secret && { keyset: fromHex(document.bytes), ...secretOf(secret) };
}

/** Reads the documents and returns a function that creates a reader. */
export async function readers(): Promise<Reader> {
  const { documents } = await file<Documents>('documents');
  const made = new Map<string, EncryptionService>();
  return (document, secret) => {
    const name = secret ? `secret ${secret.text}` : `document ${document}`;
    const known = documents.find((d) => d.name === document);
    const unlock = secret ? secretOf(secret) : known && unlockOf(known);
    if (unlock === undefined) throw new Error(`no reader for ${name}`);
    const reader = made.get(name) ?? new EncryptionService(unlock);
    made.set(name, reader);
    return reader;
  };
}
