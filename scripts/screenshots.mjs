// Takes the screenshots of the README again, from the demo of the built server: `make build && node scripts/screenshots.mjs`.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const data = mkdtempSync(join(tmpdir(), 'coffer-pictures-'));
const server = spawn('bin/coffer', ['serve', '--listen', '127.0.0.1:0', '--data', data], {
  stdio: ['ignore', 'pipe', 'ignore'],
});
const said = {};
for await (const line of createInterface({ input: server.stdout })) {
  const [name, value] = line.split(': ');
  said[name] = value;
  if (name === 'listening') break;
}
/** Creates a token for one tenant or for all tenants. */
const token = (...args) =>
  /coffer_\S+/.exec(
    execFileSync('bin/coffer', ['token', 'create', '--data', data, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    }),
  )[0];
const call = (method, path, bearer, body) =>
  fetch(said.listening + path, { method, body, headers: { Authorization: `Bearer ${bearer}` } });

/** Sends some everyday requests of a clinic. */
async function work(bearer) {
  for (const kind of ['pii', 'phi']) {
    for (let i = 0; i < 5 + Math.random() * 20; i++) {
      await call('PUT', `/v1/cache/${kind}/${i}?class=${kind}`, bearer, 'a value');
      await call('GET', `/v1/cache/${kind}/${2 * i}`, bearer);
    }
  }
}

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
});
try {
  const page = await browser.newPage({ viewport: { width: 1240, height: 780 } });
  const picture = (name) =>
    page.screenshot({ path: `docs/images/${name}.jpg`, type: 'jpeg', quality: 82 });
  await page.goto(said.listening.replace('127.0.0.1', 'localhost'));
  await page.fill('#password', 'a password of the pictures');
  await page.click('text=Create the vault');
  for (const sample of ['Patient', 'ECG strip', 'CT slice']) {
    await page.click(`.samples >> text=${sample}`);
    await page.click('text=Seal and store');
    await page.waitForSelector('.samples');
  }
  await page.waitForSelector('.pane canvas');
  await page.evaluate(() => scrollTo(0, 0));
  await picture('record');
  await page.click('role=tab[name="On the disk"]');
  await page.click('text=Flip one bit');
  await page.waitForSelector('.tamper .problem');
  await page.evaluate(() => document.querySelector('.pane').scrollIntoView());
  await picture('disk');
  const clinics = ['clinic-north', 'clinic-south', 'laboratory'].map((tenant) =>
    token('--tenant', tenant, '--scopes', 'cache:read,cache:write'),
  );
  for (const clinic of clinics) await work(clinic);
  await page.click('text=Server’s cache');
  await page.fill(
    '#token',
    token('--tenant', '*', '--scopes', 'keys:admin,audit:read,metrics:read'),
  );
  await page.click('text=Sign in');
  await page.click('text=Operations');
  await page.click('text=Keys');
  await page.click('.tenants summary >> text=clinic-north');
  await page.click('text=Rotate the keys of clinic-north');
  await page.click('text=Make new keys');
  for (let i = 0; i < 50; i++) {
    await work(clinics[i % 3]); // the charts show the requests
    await page.waitForTimeout(600 * Math.random());
  }
  await page.setViewportSize({ width: 1240, height: 960 });
  await page.evaluate(() => scrollTo(0, 0));
  await picture('operations');
} finally {
  await browser.close();
  server.kill();
  await once(server, 'close');
  rmSync(data, { recursive: true });
}
