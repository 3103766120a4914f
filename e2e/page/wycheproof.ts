/** Wycheproof's vectors through the very functions of web/src/crypto/primitives.ts that sealing, opening and unlocking call. */
import { gcmOpen, gcmSeal, hkdf, pbkdf2 } from '../../web/src/crypto/primitives.js';
import { type Outcome, codeOf, every, fromHex, refused, same, toHex } from './check.js';

interface Test {
  tcId: number;
  result: 'valid' | 'invalid';
}

interface Files {
  gcm: (Test & { key: string; iv: string; aad: string; msg: string; ct: string; tag: string })[];
  hkdf: (Test & { ikm: string; salt: string; info: string; size: number; okm: string })[];
  pbkdf2: (Test & {
    password: string;
    salt: string;
    iterationCount: number;
    dkLen: number;
    dk: string;
  })[];
}

async function all<K extends keyof Files>(
  primitive: K,
  check: (t: Files[K][number]) => Promise<unknown>,
): Promise<Outcome> {
  const tests = ((await (await fetch('/wycheproof.json')).json()) as Files)[primitive];
  return every(
    tests.map((t: Files[K][number]) => ({ name: `test ${t.tcId}`, t })),
    ({ t }) => check(t),
  );
}

export const gcm = () =>
  all('gcm', async (t) => {
    const [iv, data, plaintext, ciphertext] = [t.iv, t.aad, t.msg, t.ct + t.tag].map(fromHex) as [
      Bytes,
      Bytes,
      Bytes,
      Bytes,
    ];
    const key = await crypto.subtle.importKey('raw', fromHex(t.key), 'AES-GCM', false, [
      'encrypt',
      'decrypt',
    ]);
    if (t.result === 'invalid')
      return refused('open', 'authentication_failed', gcmOpen(key, iv, data, ciphertext));
    same('sealed', toHex(new Uint8Array(await gcmSeal(key, iv, data, plaintext))), t.ct + t.tag);
    same('opened', toHex(new Uint8Array(await gcmOpen(key, iv, data, ciphertext))), t.msg);
  });

type Bytes = Uint8Array<ArrayBuffer>;

/** The invalid ones ask for more than 255 blocks. */
export const hkdfSha256 = () =>
  all('hkdf', async (t) => {
    const key = await crypto.subtle.importKey('raw', fromHex(t.ikm), 'HKDF', false, ['deriveBits']);
    const derived = hkdf(key, fromHex(t.salt), fromHex(t.info), t.size);
    if (t.result === 'valid') same('output', toHex(await derived), t.okm);
    else same('refused', (await codeOf(derived)).startsWith('the error OperationError'), true);
  });

/** WebKitGTK's WebCrypto refuses an empty password, as the package does before it gets there. */
export const pbkdf2HmacSha256 = (engine: string) =>
  all('pbkdf2', async (t) => {
    same('result', t.result, 'valid'); // the file has no others
    const derived = pbkdf2(fromHex(t.password), fromHex(t.salt), t.iterationCount, t.dkLen);
    if (t.password === '' && engine === 'webkit')
      same('refused', (await codeOf(derived)).startsWith('the error OperationError'), true);
    else same('output', toHex(await derived), t.dk);
  });
