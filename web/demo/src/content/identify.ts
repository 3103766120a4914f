/** Identifies the kind and the subject of a file by its content. */
import type { DataClassification } from '@coffer-storage/coffer';
import { readDicom } from '../dicom/file.js';
import { DemoError } from '../demo-error.js';
import { parseFhir, patientIdOf, titleOf } from './fhir.js';

export type Kind = 'dicom' | 'image' | 'fhir' | 'file';

/** A file about to be stored. */
export interface Content {
  file: File;
  kind: Kind;
  /** The patient's name or another title from the file; empty if unknown. It is sealed with the file. */
  title: string;
  /** The context of the package: readable and authenticated. */
  context: Record<string, string>;
  suggested: DataClassification;
}

export const kindLabels: Record<Kind, string> = {
  dicom: 'DICOM',
  image: 'Image',
  fhir: 'FHIR',
  file: 'File',
};

const MAX_ID = 64; // of DICOM's VR LO and of FHIR's id

const MAX_FILE = 64 << 20;

/** Larger files are not parsed as JSON. In bytes. */
const MAX_JSON = 16 << 20;

/** Rejects with `too_large`, `not_readable`, or `malformed` for damaged DICOM. */
export async function identify(file: File): Promise<Content> {
  if (file.size > MAX_FILE)
    throw new DemoError('too_large', `${file.name} is over 64 MB, the most that one value may be`);
  const head = await headOf(file);
  if (isDicom(head)) return dicomContent(file);
  if (isImage(head)) return content(file, 'image', 'pii');
  const resource =
    file.size <= MAX_JSON && startsLikeJson(head) ? parseFhir(await file.text()) : null;
  if (resource) return content(file, 'fhir', 'phi', titleOf(resource), patientIdOf(resource));
  return content(file, 'file', 'confidential');
}

async function headOf(file: File): Promise<Uint8Array> {
  try {
    return new Uint8Array(await file.slice(0, 132).arrayBuffer());
  } catch {
    throw new DemoError(
      'not_readable',
      'the browser could not read this: is it a folder, or was it moved?',
    );
  }
}

async function dicomContent(file: File): Promise<Content> {
  const { patientName, patientId } = readDicom(new Uint8Array(await file.arrayBuffer()));
  return content(file, 'dicom', 'phi', patientName, patientId);
}

function content(
  file: File,
  kind: Kind,
  suggested: DataClassification,
  title = '',
  patientId = '',
): Content {
  const context: Record<string, string> = { kind };
  if (patientId && patientId.length <= MAX_ID && isWellFormed(patientId))
    context.patientId = patientId;
  return { file, kind, suggested, title, context };
}

/** Replaces lone surrogates, which JSON allows and a context does not. */
function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

function isDicom(head: Uint8Array): boolean {
  return String.fromCharCode(...head.subarray(128, 132)) === 'DICM';
}

/** The magic numbers of the image formats that every browser can draw. */
function isImage(head: Uint8Array): boolean {
  const text = String.fromCharCode(...head.subarray(0, 16));
  return /^(\x89PNG\r\n|\xff\xd8\xff|GIF8|BM.{4}\0\0\0\0|RIFF.{4}WEBP|.{4}ftypavif)/s.test(text);
}

function startsLikeJson(head: Uint8Array): boolean {
  return /^(\xef\xbb\xbf)?\s*\{/.test(String.fromCharCode(...head));
}
