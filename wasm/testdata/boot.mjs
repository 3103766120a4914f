// Starts the core under Node: `wasm_exec.js` and the module's path come from the test.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** The names of Go's own exports. All others are the core's. */
const runtime = new Set(['run', 'resume', 'getsp', 'mem']);

export function boot(wasmExec, modulePath) {
  createRequire(import.meta.url)(wasmExec); // defines globalThis.Go
  const go = new globalThis.Go();
  let ready = false;
  go.importObject.coffer = { ready: () => (ready = true) };
  const module = new WebAssembly.Module(readFileSync(modulePath));
  const instance = new WebAssembly.Instance(module, go.importObject);
  const { exports } = instance;
  void go.run(instance);
  if (!ready) throw new Error('the core did not say that it is ready');
  const start = exports.buffer();
  const half = exports.bufferSize() / 2;
  return {
    go,
    exports,
    half,
    names: Object.keys(exports).filter((name) => !runtime.has(name)),
    /** The input half of the buffer. It is read again each time, because the memory may have grown. */
    input: () => new Uint8Array(exports.mem.buffer, start, half),
    output: () => new Uint8Array(exports.mem.buffer, start + half, half),
  };
}
