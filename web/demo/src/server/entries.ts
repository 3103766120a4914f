/** The entries of the server's cache for the list. */
import type { DataClassification } from '@coffer-storage/coffer';
import type { CofferClient } from '@coffer-storage/coffer/client';

export interface CacheItem {
  key: string;
  classification: DataClassification;
  keyId: string;
  etag: string;
  encryptedAt: Date;
  context: Record<string, string>;
  /** When it expires, in milliseconds since 1970; `null` if never. */
  endsAt: number | null;
  /** The remaining time when it was read, in milliseconds. */
  had: number | null;
}

const MOST = 100; // enough for a demo
const AT_ONCE = 8;

/** Returns the first entries of the cache with their times, without entries that expire in the meantime. */
export async function listEntries(client: CofferClient): Promise<CacheItem[]> {
  const keys: string[] = [];
  for await (const key of client.list({ pageSize: MOST })) {
    if (keys.push(key) === MOST) break;
  }
  const items: CacheItem[] = [];
  const rest = keys.sort();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let key = rest.shift(); key !== undefined; key = rest.shift()) {
        const item = await readEntry(client, key);
        if (item) items.push(item);
      }
    }),
  );
  return items.sort((a, b) => b.encryptedAt.getTime() - a.encryptedAt.getTime());
}

/** Returns an entry; `null` if it does not exist. */
export async function readEntry(client: CofferClient, key: string): Promise<CacheItem | null> {
  const head = await client.head(key);
  if (!head) return null;
  const had = head.ttl === null ? null : head.ttl * 1000;
  return {
    key,
    classification: head.class,
    keyId: head.keyId,
    etag: head.etag,
    encryptedAt: head.encryptedAt,
    context: head.context,
    had,
    endsAt: had === null ? null : Date.now() + had,
  };
}

/** Returns `left` as a share of the entry's time to live, from 0 to 1. The time to live began when it was sealed. */
export function shareLeft(
  { encryptedAt, endsAt }: Pick<CacheItem, 'encryptedAt' | 'endsAt'>,
  left: number,
): number {
  const whole = Math.max(left, (endsAt ?? 0) - encryptedAt.getTime()); // the server's clock may be ahead of this one
  return whole > 0 ? left / whole : 0;
}

/** Formats a remaining time: `6 d 4 h`, `1:04:09`, `4:09`, `0:00`. */
export function countdown(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  if (h >= 24) return `${Math.floor(h / 24)} d ${h % 24} h`;
  const two = (n: number) => String(n).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
