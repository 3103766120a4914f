/**
 * Records of the vault. Each is two sealed values, stored together or not at all: `<id>/about`, what the list shows, and
 * `<id>/value`, the file. The id is random, since names lie on the disk in the clear and a file's name often is a patient's.
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

/** What the list shows of a record; sealed like the file itself. */
export interface About {
  name: string;
  kind: Kind;
  /** The file's length in bytes. */
  size: number;
  title: string;
  /** A small picture, as a data URL; absent where there is none. */
  preview?: string;
}

/** One line of the list. */
export interface Item {
  id: string;
  /** `null` where the sealed description could not be opened; `failure` then says why. */
  about: About | null;
  failure: unknown;
  classification: DataClassification;
  context: Record<string, string>;
  sealedAt: Date;
}

const ABOUT = '/about';
const VALUE = '/value';

/** The name under which a record's file is stored. */
export const valueName = (id: string) => id + VALUE;

/** Seals and stores a file with its description, in one transaction. Returns the record's id. */
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

/** All records, the newest first. One that cannot be opened is listed too: a damaged record must not hide the others. */
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

/** Opens a record's file. */
export async function openRecord(storage: EncryptedStorage, id: string): Promise<File> {
  return present(await storage.getDecrypted<File>(id + VALUE));
}

/** What lies on the disk of a record's file: the sealed package and its header, read without a key. */
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

/** Deletes a record: the file first, so that nothing is left without a line in the list. */
export async function removeRecord(storage: EncryptedStorage, id: string): Promise<void> {
  await storage.delete(id + VALUE);
  await storage.delete(id + ABOUT);
}

function present<T>(value: T | null): T {
  if (value === null)
    throw new DemoError('not_found', 'this record was deleted, perhaps in another tab');
  return value;
}

/** Whether the error says that the vault was locked meanwhile. */
export function isClosed(error: unknown): boolean {
  return error instanceof CofferError && error.code === 'closed';
}
