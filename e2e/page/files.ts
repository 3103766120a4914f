/** The test vectors of shared/format/vectors as a page reads them; their fields are described there, in Go. */
import { fromHex } from './check.js';

export interface Data {
  hex: string;
  runs?: { hex: string; count?: number; at?: number }[];
  repeat?: string;
  length?: number;
  sha256?: string;
}

export interface VectorSecret {
  kind: 'passphrase' | 'master-key' | 'kms';
  text: string;
}

export interface VectorPlace {
  owner: string;
  collection: string;
  name?: string;
}

export interface PackageVector {
  name: string;
  open: boolean;
  document?: string;
  secret?: VectorSecret;
  key: string;
  header: {
    algorithm: number;
    use: number;
    flags: number;
    source: number;
    class: number;
    type: number;
    keyId: string;
    salt: string;
    encryptedAt: number;
    revision: number;
    iterations: number;
    context: Record<string, string>;
  };
  place: VectorPlace;
  details?: {
    context?: Record<string, string>;
    name?: string;
    mediaType: string;
    fileName: string;
    lastModified: number;
    element?: number;
  };
  padding?: number;
  nonce: string;
  value: Data;
  messageKey: string;
  headerBytes: Data;
  additionalData: Data;
  package: Data;
  json: { ciphertext?: string; metadata: Record<string, unknown> };
}

export interface Refusal {
  name: string;
  document?: string;
  secret?: VectorSecret;
  use: number;
  least: number;
  place: VectorPlace;
  package: Data;
  of?: string;
  splice?: { from?: number; to?: number; hex?: string }[];
  code: string;
}

export interface Refusals {
  binary: { name: string; bytes: Data; code: string }[];
  json: { name: string; text?: string; hex?: string; code: string }[];
  open: Refusal[];
  decode: Refusal[];
}

export interface SlotVector {
  kind: number;
  secret?: VectorSecret;
  rootId: string;
}

export interface DocumentVector {
  name: string;
  bytes: string;
  environment: string;
  owner: string;
  slots: SlotVector[];
  keysets: {
    use: number;
    class: number;
    primary: string;
    seals: boolean;
    keys: { id: string; rootId: string; key?: string }[];
  }[];
}

export interface Documents {
  documents: DocumentVector[];
  slots: { name: string; bytes: string; environment: string; owner: string }[];
  invalidDocuments: { name: string; bytes: Data; code: string }[];
  limits: { name: string; bytes: Data }[];
  invalidSlots: { name: string; bytes: Data; code: string }[];
  unlockRefusals: {
    name: string;
    bytes: string;
    secret: VectorSecret;
    environment?: string;
    shredKey?: string;
    code: string;
  }[];
}

/** The rules that no package shows; the fields are described in Go. */
export interface Rules {
  secrets: {
    name: string;
    text?: string;
    hex?: string;
    kind?: string;
    salt?: string;
    iterations?: number;
    key?: string;
    code?: string;
  }[];
}

/** Reads one of the files, which the test serves. */
export async function file<T>(name: string): Promise<T> {
  return (await fetch(`/vectors/${name}.json`)).json() as Promise<T>;
}

/** The valid packages of both files. */
export async function packageVectors(): Promise<PackageVector[]> {
  return [
    ...(await file<PackageVector[]>('packages')),
    ...(await file<PackageVector[]>('special')),
  ];
}

/** The bytes of a package that must be refused, given the valid ones. */
export function refusedBytes(
  v: Refusal,
  packages: readonly PackageVector[],
): Uint8Array<ArrayBuffer> {
  const of = packages.find((p) => p.name === v.of);
  if (!of) return bytesOf(v.package);
  const whole = bytesOf(of.package);
  return new Uint8Array(
    (v.splice ?? []).flatMap(({ from, to, hex }) => [
      ...fromHex(hex ?? ''),
      ...(to ? whole.subarray(from ?? 0, to) : []),
    ]),
  );
}

/** The bytes of a Data. A Data with a digest only is not supported. */
export function bytesOf(d: Data): Uint8Array<ArrayBuffer> {
  if (d.sha256) throw new Error('only a digest is given');
  const start = fromHex(d.hex);
  if (d.runs) return runsOf(start, d.runs);
  if (!d.repeat) return start;
  const [all, pattern] = [new Uint8Array(d.length ?? 0), fromHex(d.repeat)];
  all.set(start);
  all.set(pattern.subarray(0, all.length - start.length), start.length);
  // Each round copies what is there behind itself.
  for (let n = pattern.length; start.length + n < all.length; n *= 2)
    all.copyWithin(start.length + n, start.length, start.length + n);
  return all;
}

/** The bytes of runs: the n-th copy of one has n in place of the two bytes at an offset. */
function runsOf(
  start: Uint8Array<ArrayBuffer>,
  runs: NonNullable<Data['runs']>,
): Uint8Array<ArrayBuffer> {
  const parts = [start];
  for (const { hex, count, at } of runs) {
    for (let n = 0; n < (count ?? 1); n++) {
      const copy = fromHex(hex);
      if (at) new DataView(copy.buffer).setUint16(at, n);
      parts.push(copy);
    }
  }
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) all.set(part, (end += part.length) - part.length);
  return all;
}
