/**
 * Records of the vault. Each is two sealed values in one transaction: `<id>/about`, the description for the list, and
 * `<id>/value`, the file. The id is random: names are plaintext on the disk, and the name of a file is often that of a patient.
 */
import {
  CofferError,
  type DataClassification,
  type EncryptedStorage,
  type Inspection,
} from '@coffer-storage/coffer';
import type { Content, Kind } from '../content/identify.js';
import { previewOf } from '../content/preview.js';
import { DemoError } from '../demo-error.js';

/** The description of a record for the list; sealed like the file. */
export interface About {
  name: string;
  kind: Kind;
  /** The length of the file in bytes. */
  size: number;
  title: string;
  /** A small image as a data URL, if the file can be drawn. */
  preview?: string;
}

/** A row of the list. */
export interface Item {
  id: string;
  /** `null` if the sealed description does not open; `failure` is the reason then. */
  about: About | null;
  failure: unknown;
  classification: DataClassification;
  context: Record<string, string>;
  sealedAt: Date;
}

const ABOUT = '/about';
const VALUE = '/value';

/** The name of the value that contains the file of a record. */
export const valueName = (id: string) => id + VALUE;

/** Seals and stores a file with its description in one transaction. Returns the id of the record. */
export async function addRecord(
  storage: EncryptedStorage,
  content: Content,
  classification: DataClassification,
): Promise<string> {
  const id = crypto.randomUUID();
  const { file, kind, title, context } = content;
  const preview = await previewOf(content);
  const about: About = {
    name: file.name,
    kind,
    size: file.size,
    title,
    ...(preview && { preview }),
  };
  await storage.setMany(
    [
      [id + ABOUT, about],
      [id + VALUE, file],
    ],
    classification,
    context,
  );
  return id;
}

/** Lists all records, newest first, including those that do not open, so that damage is visible. */
export async function listRecords(storage: EncryptedStorage): Promise<Item[]> {
  const names = (await storage.keys()).filter((name) => name.endsWith(ABOUT));
  const items = await Promise.all(names.map((name) => readItem(storage, name)));
  return items
    .filter((item) => item !== undefined)
    .sort((a, b) => b.sealedAt.getTime() - a.sealedAt.getTime());
}

async function readItem(storage: EncryptedStorage, name: string): Promise<Item | undefined> {
  const [header, opened] = await Promise.allSettled([
    storage.inspect(name),
    storage.getDecrypted<About>(name),
  ]);
  if (header.status === 'rejected' || header.value === null) return undefined;
  const { classification, context, encryptedAt } = header.value;
  const item = { id: name.slice(0, -ABOUT.length), classification, context, sealedAt: encryptedAt };
  if (opened.status === 'rejected') return { ...item, about: null, failure: opened.reason };
  return { ...item, about: opened.value, failure: null };
}

/** Opens the file of a record. */
export async function openRecord(storage: EncryptedStorage, id: string): Promise<File> {
  return present(await storage.getDecrypted<File>(id + VALUE));
}

/** Returns the sealed package of a record's file with its header, which is readable without a key. */
export async function sealedRecord(
  storage: EncryptedStorage,
  id: string,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; header: Inspection }> {
  const [bytes, header] = await Promise.all([
    storage.getPackage(id + VALUE),
    storage.inspect(id + VALUE),
  ]);
  return { bytes: present(bytes), header: present(header) };
}

/** Deletes a record: the file first, because a file without a description would not be listed. */
export async function removeRecord(storage: EncryptedStorage, id: string): Promise<void> {
  await storage.delete(id + VALUE);
  await storage.delete(id + ABOUT);
}

function present<T>(value: T | null): T {
  if (value === null)
    throw new DemoError('not_found', 'this record was deleted, perhaps in another tab');
  return value;
}

/** Whether the vault was locked in the meantime. */
export function isClosed(error: unknown): boolean {
  return error instanceof CofferError && error.code === 'closed';
}
