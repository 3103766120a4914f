/** Tenants with their keysets, as many as are asked for. */
import type { CofferClient } from '@coffer-storage/coffer/client';
import { type Keyset, keysetOf } from './api.js';

export interface Tenant {
  name: string;
  keysets: Keyset[];
}

/** How many tenants a page shows at first, and adds. */
export const TENANTS = 25;

/** What one request may ask for. */
const LARGEST = 1000;

/** Up to `most` tenants of those that the token administers, by name, and whether there are more; the server has an order of its own. */
export async function loadTenants(
  client: CofferClient,
  most: number,
): Promise<{ tenants: Tenant[]; more: boolean }> {
  const tenants = new Map<string, Tenant>();
  let more = false;
  for await (const keyset of client.keysets({ pageSize: Math.min(LARGEST, most + 1) })) {
    more = !tenants.has(keyset.tenant) && tenants.size === most;
    if (more) break;
    add(tenants, keysetOf(keyset));
  }
  return {
    tenants: [...tenants.values()].sort((a, b) =>
      a.name.localeCompare(b.name, undefined, { numeric: true }),
    ),
    more,
  };
}

/** The tenant of exactly this name. Rejects with `not_found` where it has no keys. */
export async function findTenant(
  client: CofferClient,
  name: string,
): Promise<{ tenants: Tenant[]; more: boolean }> {
  const tenants = new Map<string, Tenant>();
  for await (const keyset of client.keysets({ tenant: name })) add(tenants, keysetOf(keyset));
  return { tenants: [...tenants.values()], more: false };
}

function add(tenants: Map<string, Tenant>, keyset: Keyset): void {
  const tenant = tenants.get(keyset.tenant) ?? { name: keyset.tenant, keysets: [] };
  tenant.keysets.push(keyset);
  tenants.set(keyset.tenant, tenant);
}
