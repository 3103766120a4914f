/** EncryptionService in Node: secrets, minimum classes and places; and the restart of a core that died, with every session. */
import { createCipheriv, hkdfSync } from 'node:crypto';
import 'fake-indexeddb/auto';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createEncryptedStorage } from '../src/index.js';
import { loadCore, saltSpent } from '../src/core/core.js';
import { headerEnd, readHeader } from '../src/crypto/header.js';
import type { EncryptedPackage } from '../src/crypto/json.js';
import { EncryptionService } from '../src/service/service.js';
import type { EncryptedStorage } from '../src/storage/storage.js';
import type { Go } from '../src/core/wasm_exec.js';
import { codeOf, core as useCore, vectors } from './node.js';

/** The name of the export that is to end the module, as a fatal error of Go's runtime does: nothing throws, what it returns is garbage. */
let fatal = '';
const ended: Go[] = [];

vi.mock('../src/core/wasm_exec.js', async (original) => {
  const { newGo } = await original<typeof import('../src/core/wasm_exec.js')>();
  return { newGo: () => mortal(newGo()) };
});

function mortal(go: Go): Go {
  const run = go.run.bind(go);
  go.run = (instance) => {
    const running = run(instance);
    const calls = Object.entries(instance.exports).map(([name, f]) => [
      name,
      typeof f === 'function' ? deadly(go, instance, name, f as Call) : f,
    ]);
    Object.defineProperty(instance, 'exports', { value: Object.fromEntries(calls) });
    return running;
  };
  return go;
}

type Call = (...args: number[]) => number;

function deadly(go: Go, instance: WebAssembly.Instance, name: string, f: Call): Call {
  return (...args) => {
    if (name !== fatal) return f(...args);
    fatal = '';
    go.exited = true;
    ended.push(go);
    new Uint8Array((instance.exports.mem as WebAssembly.Memory).buffer).fill(0xff); // whatever is read of it is wrong
    return 64;
  };
}

const MASTER = Buffer.alloc(32, 'unit test master key').toString('base64');
const OTHER = Buffer.alloc(32, 'another key').toString('base64');
const PASSPHRASE = 'correct horse battery staple';

beforeAll(useCore);
beforeEach(() => (ended.length = 0));
afterEach(() => vi.restoreAllMocks());

/** A service whose passphrase was stretched once, for the tests that need no other. */
const passphrase = new EncryptionService(PASSPHRASE);

describe('secrets', () => {
  test('a master key is 32 bytes or their base64', async () => {
    const sealed = await new EncryptionService({ masterKey: MASTER }).encrypt('v', 'phi');
    expect(sealed.metadata).toMatchObject({
      keySource: 'master-key',
      use: 'service',
      classification: 'phi',
      version: '1.0',
      algorithm: 'AES-256-GCM',
    });
    expect(sealed.metadata).not.toHaveProperty('iterations');
    expect(
      await new EncryptionService({
        masterKey: new Uint8Array(Buffer.from(MASTER, 'base64')),
      }).decrypt(sealed),
    ).toBe('v');
  });

  test.each([
    ['words', PASSPHRASE],
    ['base64 of 32 bytes', MASTER],
    ['a password', { password: MASTER }],
  ])('a string is always a passphrase: %s', async (_name, source) => {
    const sealed = await new EncryptionService(source).encrypt('v', 'internal');
    expect(sealed.metadata).toMatchObject({ keySource: 'passphrase', iterations: 600_000 });
  });

  test.each([
    ['words', PASSPHRASE],
    ['base64 of 31 bytes', Buffer.alloc(31).toString('base64')],
    ['base64 of 33 bytes', Buffer.alloc(33).toString('base64')],
    ['base64 without its padding', MASTER.slice(0, -1)],
    ['base64 with bits to spare', `${MASTER.slice(0, 42)}${MASTER[42] === 'B' ? 'C' : 'B'}=`],
    ['base64url', `-${MASTER.slice(1)}`],
    ['31 bytes', new Uint8Array(31)],
    ['a number', 7 as never],
  ])(
    'a master key of another form is refused, never taken for a passphrase: %s',
    (_, masterKey) => {
      expect(() => new EncryptionService({ masterKey })).toThrow(
        expect.objectContaining({
          code: 'invalid_argument',
          message: expect.stringContaining('password'),
        }),
      );
    },
  );

  test('a secret that is empty, not well-formed, ambiguous or of another type is refused', async () => {
    for (const bad of [
      '',
      '\ud800',
      { password: '' },
      { password: 7 },
      { password: 'both', masterKey: MASTER },
      { keyset: new Uint8Array(9) },
      { keyset: new Uint8Array(9), secret: 'x' },
      new Uint8Array(32),
    ]) {
      expect(await codeOf(() => new EncryptionService(bad as string)), String(bad)).toBe(
        'invalid_argument',
      );
    }
    expect(await codeOf(() => new EncryptionService({} as never))).toBe('not_configured');
  });

  test('a passphrase is the same however its accents are composed', async () => {
    const sealed = await new EncryptionService('Zo\u00eb \u212b').encrypt('v', 'pii');
    expect(await new EncryptionService('Zoe\u0308 \u00c5').decrypt(sealed)).toBe('v');
  });

  test('iterations are raised to the default of the class, and bounded', async () => {
    const iterations = async (n: number) =>
      (await new EncryptionService(PASSPHRASE, { iterations: n }).encrypt('v', 'internal')).metadata
        .iterations;
    expect([await iterations(1), await iterations(600_001)]).toEqual([600_000, 600_001]);
    expect(await codeOf(() => iterations(10_000_001))).toBe('kdf_out_of_range');
  });

  test('concurrent calls derive once, and one salt serves them all', async () => {
    const service = new EncryptionService(PASSPHRASE);
    const derived = vi.spyOn(crypto.subtle, 'deriveBits');
    const sealed = await Promise.all(
      Array.from({ length: 20 }, (_, i) => service.encrypt(i, 'phi')),
    );
    expect(
      derived.mock.calls.filter(([how]) => (how as { name: string }).name === 'PBKDF2'),
    ).toHaveLength(1);
    expect(new Set(sealed.map((p) => p.metadata.salt)).size).toBe(1);
    expect(new Set(sealed.map((p) => p.metadata.iv)).size).toBe(20);
    expect(await Promise.all(sealed.map((p) => service.decrypt(p)))).toEqual(
      sealed.map((_, i) => i),
    );
    expect(
      derived.mock.calls.filter(([how]) => (how as { name: string }).name === 'PBKDF2'),
    ).toHaveLength(1);
    expect((await new EncryptionService(PASSPHRASE).encrypt(1, 'phi')).metadata.salt).not.toBe(
      sealed[0]?.metadata.salt,
    );
  });

  test('a wrong secret, and one of another kind', async () => {
    const [byMaster, byPassphrase] = [
      await new EncryptionService({ masterKey: MASTER }).encrypt('v', 'phi'),
      await passphrase.encrypt('v', 'phi'),
    ];
    for (const [reader, sealed] of [
      [{ masterKey: OTHER }, byMaster],
      [PASSPHRASE, byMaster],
      ['another', byPassphrase],
      [{ masterKey: MASTER }, byPassphrase],
      [MASTER, byPassphrase],
    ] as const) {
      expect(await codeOf(() => new EncryptionService(reader).decrypt(sealed))).toBe(
        'wrong_secret',
      );
    }
  });

  test('iterations out of bounds are refused before any derivation', async () => {
    await passphrase.initialize();
    const sealed = await passphrase.encrypt('v', 'phi');
    const derived = vi.spyOn(crypto.subtle, 'deriveBits');
    for (const iterations of [1, 249_999, 10_000_001, 0xffffffff]) {
      const cheap = { ...sealed, metadata: { ...sealed.metadata, iterations } };
      expect(await codeOf(() => passphrase.decrypt(cheap))).toBe('kdf_out_of_range');
    }
    expect(derived).not.toHaveBeenCalled();
  });
});

describe('packages', () => {
  const service = new EncryptionService({ masterKey: MASTER });
  const place = { owner: 'tenant', collection: 'notes', name: 'n1' };

  test('minClass refuses lower classes', async () => {
    const sealed = await service.encrypt('v', 'confidential');
    for (const minClass of ['public', 'internal', 'confidential'] as const)
      expect(await service.decrypt(sealed, { minClass })).toBe('v');
    for (const minClass of ['pii', 'phi'] as const)
      expect(await codeOf(() => service.decrypt(sealed, { minClass }))).toBe('class_too_low');
    expect(await codeOf(() => service.decrypt(sealed, { minClass: 'secret' as 'phi' }))).toBe(
      'invalid_argument',
    );
    expect(await codeOf(() => service.encrypt('v', 'secret' as 'phi'))).toBe('invalid_argument');
  });

  test('a package opens in its place and use only', async () => {
    const sealed = await service.encrypt('v', { classification: 'phi', place, use: 'field' });
    expect(await service.decrypt(sealed, { place, use: 'field' })).toBe('v');
    const { name: _, ...unnamed } = place;
    for (const options of [
      { place },
      { use: 'field' as const },
      ...[
        unnamed,
        { ...place, name: '' },
        { ...place, owner: '' },
        { owner: 'tenantn', collection: 'otes', name: 'n1' },
      ].map((p) => ({ place: p, use: 'field' as const })),
    ]) {
      expect(await codeOf(() => service.decrypt(sealed, options))).toBe('authentication_failed');
    }
  });

  test('the context is readable and bound', async () => {
    const context = { patient: 'P1', __proto__x: '', '': 'x' };
    const sealed = await service.encrypt('v', 'phi', context);
    expect(sealed.metadata.context).toEqual(context);
    for (const other of [{}, { ...context, patient: 'P2' }, { ...context, more: '' }]) {
      expect(
        await codeOf(() =>
          service.decrypt({ ...sealed, metadata: { ...sealed.metadata, context: other } }),
        ),
      ).toBe('authentication_failed');
    }
  });

  test('both encodings, and a public value in the clear that cannot be changed', async () => {
    const sealed = await service.encrypt('public news', 'public');
    expect(Buffer.from(sealed.ciphertext, 'base64').subarray(16).toString()).toBe('public news');
    const forged = {
      ...sealed,
      ciphertext: Buffer.concat([
        Buffer.from(sealed.ciphertext, 'base64').subarray(0, 16),
        Buffer.from('public lies'),
      ]).toString('base64'),
    };
    expect(await codeOf(() => service.decrypt(forged))).toBe('authentication_failed');
    const binary = await service.encryptBinary(new Uint8Array([1, 2]), 'phi');
    expect(await service.decrypt(binary)).toEqual(new Uint8Array([1, 2]));
    binary[binary.length - 1]! ^= 1;
    expect(await codeOf(() => service.decrypt(binary))).toBe('authentication_failed');
  });

  test.each([
    ['a master key', { masterKey: MASTER }],
    ['a passphrase', PASSPHRASE],
  ])(
    'the caller may change value, context, place and package once the call returned: %s',
    async (_, source) => {
      const [service, other, initialized] = [1, 2, 3].map(() => new EncryptionService(source)) as [
        EncryptionService,
        EncryptionService,
        EncryptionService,
      ];
      await initialized.initialize();
      // The first round finds no keys, the second no message key of its class; the third has all that it needs.
      for (const cls of ['phi', 'public', 'phi'] as const) {
        const [value, context, at] = [Buffer.from([1, 2, 3]), { a: 'b' }, { ...place }];
        const sealing = service.encryptBinary(value, { classification: cls, context, place: at });
        value.fill(9);
        [context.a, at.name] = ['c', 'n2'];
        const sealed = await sealing;
        for (const reader of [service, other, initialized]) {
          const [bytes, of] = [Buffer.from(sealed), { ...place }];
          const opening = reader.decrypt<Uint8Array>(bytes, { place: of });
          bytes.fill(9);
          of.name = 'n2';
          expect([...(await opening)]).toEqual([1, 2, 3]);
        }
        expect(readHeader(sealed.subarray(0, headerEnd(sealed))).context).toEqual({ a: 'b' });
      }
    },
  );

  test('opened bytes do not share memory with the package', async () => {
    for (const cls of ['phi', 'public'] as const) {
      const sealed = await service.encryptBinary(new Uint8Array([1, 2, 3]), cls);
      const before = sealed.slice();
      for (const _ of [1, 2]) (await service.decrypt<Uint8Array>(sealed)).fill(9);
      expect(sealed).toEqual(before);
    }
  });

  test('packages in shared memory', async () => {
    const sealed = await service.encryptBinary('v', 'phi');
    const shared = new Uint8Array(new SharedArrayBuffer(sealed.length));
    shared.set(sealed);
    expect(await service.decrypt(shared)).toBe('v');
  });

  test('calls that find the salt of a passphrase spent share one derivation, and seal what they were given', async () => {
    const service = new EncryptionService(PASSPHRASE);
    const first = await service.encrypt('v', 'phi');
    const derived = vi.spyOn(crypto.subtle, 'deriveBits');
    vi.spyOn((await loadCore()).call, 'planSeal')
      .mockReturnValueOnce(saltSpent)
      .mockReturnValueOnce(saltSpent);
    const values = [new Uint8Array([1]), new Uint8Array([2])];
    const sealing = values.map((value) => service.encrypt(value, 'phi'));
    for (const value of values) value.fill(9);
    const sealed = await Promise.all(sealing);
    expect(
      derived.mock.calls.filter(([how]) => (how as { name: string }).name === 'PBKDF2'),
    ).toHaveLength(1);
    expect(new Set([first, ...sealed].map((p) => p.metadata.salt)).size).toBe(2);
    expect(await Promise.all(sealed.map((p) => service.decrypt(p)))).toEqual([
      new Uint8Array([1]),
      new Uint8Array([2]),
    ]);
    expect(await service.decrypt(first)).toBe('v');
  });

  test('the caller of a storage may change the bytes once the call returned', async () => {
    for (const cls of ['phi', 'public'] as const) {
      const storage = await createEncryptedStorage(`borrowed ${cls}`, 's', {
        unlock: { masterKey: MASTER },
      });
      for (const writer of ['new', 'kept']) {
        const value = new Uint8Array([1, 2, 3]);
        const storing = storage.setEncrypted(writer, value, cls);
        value.fill(9);
        await storing;
        expect(
          [...(await storage.getDecrypted<Uint8Array>(writer))!],
          `${cls}, ${writer} writer`,
        ).toEqual([1, 2, 3]);
      }
    }
  });
});

describe('a wrapped key that does not match its id', () => {
  interface Vector {
    name: string;
    bytes: string;
    slots: {
      kind: number;
      secret: { text: string };
      key: string;
      keyId: string;
      line: string;
      generation: number;
      rootId: string;
      root: string;
    }[];
    keysets: { use: number; class: number; primary: string }[];
  }
  const [document] = vectors<{ documents: Vector[] }>('documents').documents as [Vector];
  const slot = document.slots.find((s) => s.kind === 2)!;
  const masterKey = slot.secret.text;

  /** The document with other bytes wrapped in the place of a key. Only a holder of the wrapping key can do this. */
  const forged = async (wrapping: string, id: string, use: number, cls: number, before: number) => {
    const core = await loadCore();
    const handle = core.check(
      core.call.openDocument(core.begin().bytes(Buffer.from(document.bytes, 'hex')).length),
    );
    core.begin().bytes(Buffer.from(id, 'hex'));
    const binding = core.output(core.call.binding(handle, use, cls));
    const key = Buffer.from(
      hkdfSync('sha256', Buffer.from(wrapping, 'hex'), '', 'coffer/v1 wrapping key', 32),
    );
    const gcm = createCipheriv('aes-256-gcm', key, Buffer.alloc(12)).setAAD(binding);
    const wrapped = Buffer.concat([
      Buffer.alloc(12),
      gcm.update(Buffer.alloc(32, 'another key')),
      gcm.final(),
      gcm.getAuthTag(),
    ]);
    const keyset = Buffer.from(document.bytes, 'hex');
    wrapped.copy(keyset, before);
    return { keyset: new Uint8Array(keyset), masterKey };
  };
  /** The offset of the wrapped bytes that follow the last occurrence of an id. */
  const after = (id: string, skip: number) =>
    Buffer.from(document.bytes, 'hex').lastIndexOf(Buffer.from(id, 'hex')) + 32 + skip;

  test('a root', async () => {
    // salt, iterations and three lengths stand before it
    const unlock = await forged(
      slot.key,
      slot.line + slot.generation.toString(16).padStart(8, '0') + slot.rootId,
      0,
      0,
      after(slot.keyId, 16 + 4 + 2 + 2 + 2),
    );
    expect(await codeOf(() => new EncryptionService(unlock).initialize())).toBe(
      'authentication_failed',
    );
  });

  test('a data key', async () => {
    const set = document.keysets.at(-1)!;
    // state, time, the name of the root and a length stand before it
    const unlock = await forged(
      slot.root,
      set.primary,
      set.use,
      set.class,
      after(set.primary, 1 + 8 + 52 + 2),
    );
    expect(await codeOf(() => new EncryptionService(unlock).initialize())).toBe(
      'authentication_failed',
    );
  });

  test('the document as it is unlocks', () =>
    new EncryptionService({
      keyset: new Uint8Array(Buffer.from(document.bytes, 'hex')),
      masterKey,
    }).initialize());
});

describe('a core that died', () => {
  let databases = 0;
  const sessions = async () => {
    const service = new EncryptionService({ masterKey: MASTER });
    const sealed = await service.encrypt('before', 'phi');
    const database = `dead ${databases++}`;
    const storage = await createEncryptedStorage(database, 's', { unlock: { masterKey: MASTER } });
    await storage.setEncrypted('k', 'before', 'phi');
    return { service, sealed, storage, database };
  };
  const usable = async ({
    service,
    sealed,
    storage,
  }: {
    service: EncryptionService;
    sealed: EncryptedPackage;
    storage: EncryptedStorage;
  }) => {
    expect(await service.decrypt(sealed)).toBe('before');
    expect(await service.decrypt(await service.encrypt('after', 'pii'))).toBe('after');
    expect(await storage.getDecrypted('k')).toBe('before');
    expect((await storage.inspect('k'))?.classification).toBe('phi');
    await storage.setEncrypted('l', 'after', 'internal');
    expect(await storage.getMany(['k', 'l'])).toEqual(['before', 'after']);
  };

  test('between two calls: the next call succeeds', async () => {
    const open = await sessions();
    const core = await loadCore();
    const { generation } = core;
    fatal = 'writeIterations';
    core.call.writeIterations(0);
    expect(ended).toHaveLength(1);
    await usable(open);
    expect(core.generation).toBe(generation + 1);
  });

  test.each([
    ['planSeal', 'encrypt'],
    ['planOpen', 'decrypt'],
  ] as const)('within %s: that call fails, the next succeed', async (name, method) => {
    const open = await sessions();
    fatal = name;
    const call =
      method === 'encrypt'
        ? open.service.encrypt('lost', 'phi')
        : open.service.decrypt(open.sealed);
    expect(await codeOf(() => call)).toBe('internal');
    expect(ended).toHaveLength(1);
    await usable(open);
  });

  test('within a write: the earlier value stays', async () => {
    const open = await sessions();
    fatal = 'planSeal';
    expect(await codeOf(() => open.storage.setEncrypted('k', 'lost', 'phi'))).toBe('internal');
    await usable(open);
  });

  test('while the iterations are decided: its return value is not used as their number', async () => {
    fatal = 'writeIterations';
    expect(await codeOf(() => new EncryptionService(PASSPHRASE).initialize())).toBe('internal');
    fatal = 'writeIterations';
    expect(
      await codeOf(() =>
        createEncryptedStorage('never made', 's', { unlock: { password: PASSPHRASE } }),
      ),
    ).toBe('internal');
  });

  test('while a vault is unlocked: it unlocks when tried again', async () => {
    for (const name of ['openDocument', 'slot', 'key', 'binding', 'owner']) {
      const open = await sessions();
      const keyset = await documentOf(open.database);
      fatal = name;
      await codeOf(() => new EncryptionService({ keyset, masterKey: MASTER }).initialize());
      expect(fatal).toBe('');
      await new EncryptionService({ keyset, masterKey: MASTER }).initialize();
      await usable(open);
    }
  });

  test('again and again', async () => {
    const open = await sessions();
    for (let i = 0; i < 5; i++) {
      fatal = 'checkHeader';
      await codeOf(() => open.storage.inspect('k'));
      await usable(open);
    }
  });
});

/** The vault document of a database, by raw IndexedDB. */
async function documentOf(database: string): Promise<Uint8Array> {
  const settled = <T>(request: IDBRequest<T>) =>
    new Promise<T>((resolve) => (request.onsuccess = () => resolve(request.result)));
  const connection = await settled(indexedDB.open(database));
  return settled(
    connection.transaction('vault').objectStore('vault').get('document') as IDBRequest<Uint8Array>,
  );
}
