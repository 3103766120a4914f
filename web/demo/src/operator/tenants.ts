/** Loads tenants with their keysets. */
import type { CofferClient } from '@coffer-storage/coffer/client';
import { type Keyset, keysetOf } from './api.js';

export interface Tenant {
  name: string;
  keysets: Keyset[];
}

/** The number of tenants on a page. */
export const TENANTS = 25;

/** The largest page size of the API. */
const LARGEST = 1000;

/** Returns up to `most` tenants that the token may administer, sorted by name, and whether there are more. The server does not sort by name. */
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

/** Returns the tenant with this id. Rejects with `not_found` if it has no keys. */
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
