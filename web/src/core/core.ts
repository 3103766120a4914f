import { encoder, none } from './bytes.js';
import { codes } from './codes.gen.js';
import { CofferError, errorOf } from './errors.js';
import { isPlain } from './plain.js';
import { newGo } from './wasm_exec.js';

/** The exports of wasm/. They take and return integers; bytes are passed in the buffer. */
interface Exports {
  mem: WebAssembly.Memory;
  buffer(): number;
  bufferSize(): number;
  openDocument(n: number): number;
  openRoots(handle: number, n: number): number;
  newDocument(environment: number, owner: number): number;
  closeSession(handle: number): void;
  encodeDocument(handle: number): number;
  addSlot(handle: number, n: number): number;
  addKey(handle: number, use: number, cls: number, n: number, createdAt: number): number;
  owner(handle: number): number;
  environment(handle: number): number;
  slot(handle: number, i: number): number;
  key(handle: number, i: number): number;
  record(handle: number, i: number): number;
  sign(handle: number, i: number): number;
  checkDerivations(handle: number): number;
  checkSlot(handle: number, i: number): number;
  binding(handle: number, use: number, cls: number): number;
  primary(handle: number, use: number, cls: number): number;
  openSingle(source: number, iterations: number): number;
  planSeal(
    handle: number,
    use: number,
    cls: number,
    type: number,
    flags: number,
    n: number,
    now: number,
    size: number,
  ): number;
  planOpen(handle: number, use: number, minClass: number, n: number, body: number): number;
  checkHeader(n: number, total: number): number;
  checkDerivation(n: number): number;
  encodeHeader(n: number): number;
  encodeDetails(
    type: number,
    flags: number,
    element: number,
    n: number,
    lastModified: number,
  ): number;
  splitDetails(type: number, flags: number, n: number): number;
  writeIterations(wish: number): number;
  checkIterations(n: number): number;
}

/** The result of planSeal if the writer's salt has sealed its limit of packages. */
export const saltSpent = -1000;

/** Decodes UTF-8 as strictly as the core. U+FEFF at the beginning is kept. */
export const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes bytes that the core checked. */
export const textOf = (bytes: Uint8Array): string => decoder.decode(bytes);

/**
 * The WebAssembly core: the Go code for the format, classes and key decisions, which the server runs as well. Its calls
 * are synchronous. It gets names, headers and wrapped keys, but never a payload or a usable key.
 *
 * A call's input is built by `begin`, `bytes`, `text` and `map`; its output is read by `output` or `view`.
 */
export class Core {
  #module: WebAssembly.Module;
  #go!: ReturnType<typeof newGo>;
  #exports!: Exports;
  #bytes!: Uint8Array<ArrayBuffer>;
  #start = 0;
  #half = 0;
  #end = 0;
  /** Incremented when the module is restarted. Handles of an earlier generation are invalid. */
  generation = 0;

  constructor(module: WebAssembly.Module) {
    this.#module = module;
    this.#boot();
  }

  /** Instantiates the module. Go's scheduler runs main until it blocks before `run` returns, so this is synchronous. */
  #boot(): void {
    let ready = false;
    this.#go = newGo();
    this.#go.importObject.coffer = { ready: () => (ready = true) };
    const instance = new WebAssembly.Instance(
      this.#module,
      this.#go.importObject as WebAssembly.Imports,
    );
    void this.#go.run(instance);
    if (!ready) throw errorOf('wasm_unavailable');
    this.#exports = instance.exports as unknown as Exports;
    this.#bytes = none;
    this.#start = this.#exports.buffer();
    this.#half = this.#exports.bufferSize() / 2;
    this.generation++;
  }

  /** The exports of a running module. An unrecovered Go panic does not throw; the ended module's exports return garbage, so it is restarted here. */
  get call(): Exports {
    if (this.#go.exited) this.#boot();
    return this.#exports;
  }

  /** The module's memory. When it grows, the former view becomes empty and is replaced. */
  get #memory(): Uint8Array<ArrayBuffer> {
    if (this.#bytes.length === 0) this.#bytes = new Uint8Array(this.#exports.mem.buffer);
    return this.#bytes;
  }

  /** Begins an input. */
  begin(): this {
    this.#end = this.#start;
    return this;
  }

  /** Adds bytes to the input. */
  bytes(b: Uint8Array): this {
    if (this.#end + b.length > this.#start + this.#half) throw errorOf('too_large');
    this.#memory.set(b, this.#end);
    this.#end += b.length;
    return this;
  }

  /** Adds a text with its 16-bit length. */
  text(s: string): this {
    const memory = this.#memory;
    const start = this.#end + 2;
    const limit = Math.min(start + 0xffff, this.#start + this.#half);
    let end = start;
    let read = 0;
    // Most names are ASCII, for which this loop is faster than the encoder.
    for (let c; read < s.length && end < limit && (c = s.charCodeAt(read)) < 0x80; read++)
      memory[end++] = c;
    if (read < s.length) {
      checkText(s);
      const rest = encoder.encodeInto(read ? s.slice(read) : s, memory.subarray(end, limit));
      read += rest.read;
      end += rest.written;
    }
    if (read < s.length || start > limit) throw errorOf('too_large');
    memory[start - 2] = (end - start) >> 8;
    memory[start - 1] = end - start;
    this.#end = end;
    return this;
  }

  /** Adds the entries of a map. The core sorts them. */
  map(context: Readonly<Record<string, string>> = {}): this {
    if (!isPlain(context) || !Object.values(context).every((value) => typeof value === 'string'))
      throw errorOf('invalid_argument', 'a context is a plain object of strings');
    for (const [key, value] of Object.entries(context)) this.text(key).text(value as string);
    return this;
  }

  /** The length of the input so far. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** Copies the first n bytes of the input. */
  input(n: number): Uint8Array<ArrayBuffer> {
    return this.#memory.slice(this.#start, this.#start + n);
  }

  /** Returns the result of a call. Throws the error that a negative result stands for, or `internal` if the call ended the module. */
  check(n: number): number {
    if (this.#go.exited) throw errorOf('internal', 'the core ended; the next call restarts it');
    if (n < 0) throw coreError(n);
    return n;
  }

  /** Copies the first n bytes of the output. Throws the error that a negative n stands for. */
  output(n: number): Uint8Array<ArrayBuffer> {
    return this.view(this.check(n)).slice();
  }

  /** Returns the first n bytes of the output without copying them. The view is valid until the next call. */
  view(n: number): Uint8Array<ArrayBuffer> {
    const at = this.#start + this.#half;
    return this.#memory.subarray(at, at + n);
  }
}

function coreError(n: number): CofferError {
  return errorOf(codes[-n - 1] ?? 'internal');
}

/** Reads numbers, bytes and length-prefixed texts from an output. */
export class Reader {
  constructor(
    readonly bytes: Uint8Array<ArrayBuffer>,
    public at = 0,
  ) {}
  get done(): boolean {
    return this.at >= this.bytes.length;
  }
  take(n: number): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(this.at, (this.at += n));
  }
  uint(n: 1 | 2 | 4): number {
    return this.take(n).reduce((value, byte) => value * 256 + byte, 0);
  }
  /** Reads a signed number, which is rounded beyond 53 bits. */
  int64(): number {
    return (this.uint(4) | 0) * 2 ** 32 + this.uint(4);
  }
  text(): string {
    return textOf(this.take(this.uint(2)));
  }
  /** Reads pairs of texts to the end. */
  map(): Record<string, string> {
    const entries: [string, string][] = [];
    while (!this.done) entries.push([this.text(), this.text()]);
    return Object.fromEntries(entries);
  }
}

/** Throws `invalid_argument` for a text with a lone surrogate (ECMA-262 String.prototype.isWellFormed). UTF-8 would replace it and make two texts one. */
export function checkText(s: string): void {
  if (!((s as string & { isWellFormed?(): boolean }).isWellFormed?.() ?? !/\p{Surrogate}/u.test(s)))
    throw errorOf('invalid_argument', 'text with a lone surrogate');
}

/** Returns the class of a platform object of any realm, such as a typed array or a Blob. `instanceof` works within one realm only. */
export function classOf(value: unknown): unknown {
  return (value as { [Symbol.toStringTag]?: unknown } | null | undefined)?.[Symbol.toStringTag];
}

/** Reports whether a value is a Uint8Array of any realm. */
export function isBytes(value: unknown): value is Uint8Array {
  return classOf(value) === 'Uint8Array';
}

/** The location of coffer.wasm, or its content for a host that loads it by other means. */
export type CoreSource = URL | string | Response | BufferSource | WebAssembly.Module;

let source: CoreSource | undefined;
let loading: Promise<Core> | undefined;

/** Sets the source of the core. The default is coffer.wasm beside this module. */
export function setCoreSource(s: CoreSource): void {
  source = s;
  loading = undefined;
}

/** Loads the core once. The next call retries a failed load. */
export function loadCore(): Promise<Core> {
  loading ??= load().catch((cause: unknown) => {
    loading = undefined;
    throw cause instanceof CofferError ? cause : errorOf('wasm_unavailable', undefined, cause);
  });
  return loading;
}

async function load(): Promise<Core> {
  if (!globalThis.WebAssembly) throw errorOf('wasm_unavailable');
  if (!globalThis.crypto?.subtle) throw errorOf('webcrypto_unavailable');
  return new Core(await compile(source ?? new URL('./coffer.wasm', import.meta.url)));
}

async function compile(from: CoreSource): Promise<WebAssembly.Module> {
  if (from instanceof WebAssembly.Module) return from;
  if (from instanceof ArrayBuffer || ArrayBuffer.isView(from))
    return WebAssembly.compile(from as BufferSource);
  const response = from instanceof Response ? from : await fetch(from);
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  // Many servers send another type. Engines stream only this type, without parameters.
  if (response.headers.get('Content-Type') === 'application/wasm')
    return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}
