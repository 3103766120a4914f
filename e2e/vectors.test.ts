/** The vectors of shared/format/vectors in three browsers, through the shipped package and byte by byte through its parts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Page,
  type Server,
  type Session,
  chromium,
  firefox,
  webkit,
} from './harness/index.js';
import { bundle, call } from './page/bundle.js';
import type { Outcome } from './page/check.js';
import type { Documents, PackageVector, Refusals, Rules } from './page/files.js';
import { ROOT, servePackage } from './support.js';

const FILES = ['packages', 'special', 'variants', 'invalid', 'rules', 'documents'] as const;
const text = (name: string) =>
  readFileSync(join(ROOT, `shared/format/vectors/${name}.json`), 'utf8');
const read = <T>(name: string) => JSON.parse(text(name)) as T;

/** How many cases each check must look at, counted here and not in the page. */
function counts(): Record<string, number> {
  const packages = [...read<PackageVector[]>('packages'), ...read<PackageVector[]>('special')];
  const { binary, json, open, decode } = read<Refusals>('invalid');
  const { documents, slots, limits, invalidDocuments, invalidSlots, unlockRefusals } =
    read<Documents>('documents');
  const owners = new Map(documents.map((d) => [d.name, d.owner]));
  const locked = new Set(documents.filter((d) => d.slots.length === 0).map((d) => d.name));
  const records = packages.filter(
    (v) =>
      v.open &&
      v.header.use === 1 &&
      v.place.name !== undefined &&
      owners.get(v.document ?? '') === v.place.owner,
  );
  const available = packages.filter((v) => v.open || !v.package.sha256).length;
  return {
    opens: available,
    opensFromStorage: records.length,
    refusesBytes: binary.length,
    refusesTexts: json.length,
    refusesToOpen: open.length,
    refusesValues: decode.length,
    secrets: read<Rules>('rules').secrets.length,
    opensNothing: open.filter((v) => locked.has(v.document ?? '')).length,
    headers: packages.length,
    bodies: packages.length,
    encodings: available,
    variants: read<unknown[]>('variants').length,
    unlocks: documents.length,
    seals: documents.length,
    limits: limits.length,
    refusesDocuments: invalidDocuments.length,
    refusesSecrets: unlockRefusals.filter((v) => !v.shredKey).length,
    slots: slots.length + invalidSlots.length,
  };
}

let server: Server;
beforeAll(async () => {
  const files = Object.fromEntries(FILES.map((name) => [`/vectors/${name}.json`, text(name)]));
  server = await servePackage({ ...files, ...(await bundle('vectors')) });
});
afterAll(() => server.close());

describe.each([chromium, firefox, webkit])('vectors in $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session.close());

  test.each(Object.entries(counts()))('%s', async (check, count) => {
    expect(count).toBeGreaterThan(0);
    expect(await call<Outcome>(page, 'vectors', check)).toEqual({ checked: count, wrong: [] });
  });
});
