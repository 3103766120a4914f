/** Go's WebAssembly support. `make wasm` copies it from the Go release that built the core, and keeps it off globalThis. */
export interface Go {
  importObject: Record<string, Record<string, unknown>>;
  exited: boolean;
  run(instance: WebAssembly.Instance): Promise<void>;
}
export function newGo(): Go;
