// Makes the pictures of the README anew, from the demo as the built server serves it: `make build && node scripts/screenshots.mjs`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const data = mkdtempSync(join(tmpdir(), 'coffer-pictures-'));
const server = spawn('bin/coffer', ['serve', '--listen', '127.0.0.1:0', '--data', data], { stdio: ['ignore', 'pipe', 'ignore'] });
const said = {};
for await (const line of createInterface({ input: server.stdout })) {
  const [name, value] = line.split(': ');
  said[name] = value;
  if (name === 'listening') break;
}
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] });
try {
  const page = await browser.newPage({ viewport: { width: 1240, height: 780 } });
  const picture = (name) => page.screenshot({ path: `docs/images/${name}.jpg`, type: 'jpeg', quality: 82 });
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
} finally {
  await browser.close();
  server.kill();
  await once(server, 'close');
  rmSync(data, { recursive: true });
}
