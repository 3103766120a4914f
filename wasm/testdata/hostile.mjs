// node hostile.mjs WASM_EXEC CORE SEED CALLS CODES: calls every export with hostile numbers and bytes, and reports the results:
// {calls: {name: {succeeded, failed}}, faults: [...], memory}. CODES is the number of error codes.
import { boot } from './boot.mjs';

const [wasmExec, modulePath, ...numbers] = process.argv.slice(2);
const [seed, calls, codes] = numbers.map(Number);
const core = boot(wasmExec, modulePath);
const saltSpent = -1000;
const hostile = [
  -1,
  -2,
  -77,
  0.5,
  -0.5,
  78,
  80,
  255,
  256,
  257,
  65535,
  65536,
  core.half - 1,
  core.half,
  core.half + 1,
  2 * core.half,
  2 ** 31 - 1,
  -(2 ** 31),
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 63,
  -(2 ** 63),
  1e300,
  -1e300,
  NaN,
  Infinity,
  -Infinity,
];
/** Exports whose result is not a length. */
const unbounded = new Set(['buffer', 'bufferSize', 'writeIterations']);
const opens = new Set(['openDocument', 'newDocument', 'openSingle']);
/** Handles of documents, and of sessions with a single key. */
const handles = { documents: [], singles: [] };
const faults = [];
const report = Object.fromEntries(core.names.map((name) => [name, { succeeded: 0, failed: 0 }]));

// mulberry32, a small seeded generator.
let state = seed >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];

/** Outputs of the core that are used as inputs: documents, and headers followed by a place. */
const pools = { documents: [], packages: [] };

function keep(pool, bytes, args) {
  if (bytes.length < 4096)
    pool.splice(pool.length < 50 ? pool.length : below(50), 1, { bytes: bytes.slice(), args });
}

/** The bytes that were last taken from a pool, with the arguments of the call that wrote them. */
let taken = { bytes: [], args: [] };

function written(name) {
  taken = pick(pools[name]) ?? { bytes: [], args: [] };
  return taken.bytes;
}

const fill = (n, byte) => new Array(n).fill(byte);

/** An encoded root: line, generation and id. */
const root = [...fill(16, 8), 0, 0, 0, 1, ...fill(32, 9)];

/** A key's id, its encoded root and its wrapped bytes. */
const key = () => [below(256), ...fill(31, 7), ...root, ...fill(60, 7)];

/** A master key's slot (shared/envelope/SPEC.md section 2). */
const slot = () => [
  below(256),
  ...fill(15, 9),
  2,
  ...fill(8, 0),
  ...root,
  ...fill(32, 9),
  ...fill(24, 0),
  0,
  60,
  ...fill(60, 9),
  ...fill(32, below(2)),
];

/** A salt, a place (owner, collection, named or not, name) and a context. */
const request = () => [
  ...fill(16, below(4)),
  ...pick([
    [0, 1, 111, 0, 0, 0],
    [0, 1, 111, 0, 1, 99, 1, 0, 1, 110],
    [0, 1, 111, 0, 1, 99, 1, 0, 1, 110, 0, 1, 97, 0, 1, 98],
  ]),
];

const either = () => pick(random() < 0.5 ? handles.documents : handles.singles);
const document = () => pick(handles.documents);

/** For each export a function that returns a valid input, and one that returns the arguments for an input of n bytes. */
const made = {
  openDocument: [() => written('documents'), (n) => [n]],
  openRoots: [() => pick([[], root, [...root, ...root]]), (n) => [document(), n]],
  newDocument: [() => [...Buffer.from('testowner')], () => [4, 5]],
  closeSession: [() => [], () => [0]],
  encodeDocument: [() => [], () => [document()]],
  addSlot: [slot, (n) => [document(), n]],
  addKey: [key, (n) => [document(), 1 + below(5), 1 + below(5), n, 1]],
  owner: [() => [], () => [document()]],
  environment: [() => [], () => [document()]],
  slot: [() => [], () => [document(), below(3)]],
  key: [() => [], () => [document(), below(3)]],
  record: [() => [], () => [document(), below(9)]],
  sign: [() => fill(32, 5), () => [document(), below(9)]],
  checkDerivations: [() => [], () => [document()]],
  checkSlot: [() => [], () => [document(), below(3)]],
  binding: [key, () => [document(), below(6), below(6)]],
  primary: [() => [], () => [either(), 1 + below(5), 1 + below(5)]],
  openSingle: [
    key,
    () =>
      pick([
        [3, 0],
        [2, 600000],
      ]),
  ],
  planSeal: [
    request,
    (n) => [
      either(),
      1 + below(5),
      1 + below(5),
      1 + below(6),
      2 * below(2),
      n,
      1,
      below(2) * 2 ** 26,
    ],
  ],
  planOpen: [() => written('packages'), (n) => [taken.args[0], taken.args[1], below(3), n, 28]],
  checkHeader: [() => written('packages'), (n) => [n, 1000]],
  checkDerivation: [() => written('packages'), (n) => [n]],
  encodeHeader: [() => [...written('packages').slice(0, 78), ...request().slice(26)], (n) => [n]],
  encodeDetails: [() => [0, 0, 0, 1, 97, 0, 0], (n) => [5 + below(2), below(4), 0, n, 1]],
  splitDetails: [() => [0, 1, 97, 0, 0, ...fill(20, 0)], (n) => [5 + below(3), below(16), n]],
  writeIterations: [() => [], () => [1_000_000]],
  checkIterations: [() => [], () => [600_000]],
};

/** An argument for an input of n bytes. It is usually invalid. */
function argument(n) {
  const r = random();
  if (r < 0.3) return n;
  if (r < 0.5) return either() ?? 0;
  if (r < 0.7) return below(7);
  return r < 0.9 ? pick(hostile) : Math.floor((random() - 0.5) * 2 ** 33);
}

/** Calls an export with valid arguments, with a few bytes or one argument changed, or with random arguments. */
function once(name) {
  const [input, args] = made[name] ?? [() => [], () => []];
  const bytes = Uint8Array.from(random() < 0.8 ? input() : (made[pick(core.names)]?.[0]() ?? []));
  const call = core.exports[name];
  const values =
    random() < 0.6
      ? args(bytes.length)
      : Array.from({ length: call.length }, () => argument(bytes.length));
  if (random() < 0.3 && values.length > 0) values[below(values.length)] = argument(bytes.length);
  for (let n = random() < 0.5 ? 0 : below(4); n > 0 && bytes.length > 0; n--)
    bytes[below(bytes.length)] = below(256);
  core.input().set(bytes);
  check(name, values, call(...values) ?? 0);
}

function check(name, args, result) {
  const isError = result < 0 && (result >= -codes || (result === saltSpent && name === 'planSeal'));
  const isResult = result >= 0 && (result <= core.half || unbounded.has(name) || opens.has(name));
  if (!Number.isInteger(result) || !(isError || isResult) || core.go.exited)
    faults.push(`${name}(${args}) = ${result}`);
  report[name][result < 0 ? 'failed' : 'succeeded']++;
  if (result < 0) return;
  if (opens.has(name))
    remember(name === 'openSingle' ? handles.singles : handles.documents, result);
  if (name === 'encodeDocument') keep(pools.documents, core.output().subarray(0, result), args);
  // Additional data is a header's length, the header and the place. Without the length it is an input of planOpen.
  if (name === 'planSeal') keep(pools.packages, core.output().subarray(2, result), args);
}

/** Keeps a handle, and closes an older one if there are many. */
function remember(list, handle) {
  list.push(handle);
  if (list.length > 25) core.exports.closeSession(list.splice(below(list.length), 1)[0]);
}

for (let i = 0; i < calls && faults.length < 10; i++) once(core.names[i % core.names.length]);
for (const handle of Object.values(handles).flat()) core.exports.closeSession(handle);
process.stdout.write(
  JSON.stringify({ calls: report, faults, memory: core.exports.mem.buffer.byteLength }),
  () => process.exit(0),
); // the core never exits
