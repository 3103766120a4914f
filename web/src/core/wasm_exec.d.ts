/** Go's WebAssembly support, made by `make wasm` from the Go release that built the core; it leaves nothing on globalThis. */
export interface Go {
  importObject: Record<string, Record<string, unknown>>;
  exited: boolean;
  run(instance: WebAssembly.Instance): Promise<void>;
}
export function newGo(): Go;
