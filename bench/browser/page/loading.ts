/** The time to load a core from a URL until it can be called, compared with the smallest Go program. */
import { loadCore, setCoreSource } from '../../../web/src/core/core.js';
import { newGo } from '../../../web/src/core/wasm_exec.js';
import { type Comparison, median } from './compare.js';

/**
 * Loads `rounds` copies of each, at /core-0.wasm … and /hello-0.wasm …. No two are alike, or the browser would compile the first and
 * remember it.
 */
export async function loading(rounds: number): Promise<Record<string, Comparison>> {
  const times: [ours: number, hello: number][] = [];
  for (let i = 0; i < rounds; i++) {
    const oursFirst = Math.random() < 0.5;
    const first = await timed(oursFirst ? core : hello, i);
    const second = await timed(oursFirst ? hello : core, i);
    if (i > 0) times.push(oursFirst ? [first, second] : [second, first]); // the first round warms up the page
  }
  const ratio = median(times.map(([a, b]) => a / b));
  return {
    'core ready': {
      ratio,
      ours: median(times.map(([a]) => a)),
      byHand: median(times.map(([, b]) => b)),
    },
  };
}

async function timed(load: (i: number) => Promise<unknown>, i: number): Promise<number> {
  const start = performance.now();
  await load(i);
  return performance.now() - start;
}

async function core(i: number): Promise<void> {
  setCoreSource(`/core-${i}.wasm`);
  await loadCore();
}

async function hello(i: number): Promise<void> {
  const go = newGo();
  await new Promise<void>((resolve, reject) => {
    go.importObject.coffer = { ready: resolve };
    WebAssembly.instantiateStreaming(
      fetch(`/hello-${i}.wasm`),
      go.importObject as WebAssembly.Imports,
    )
      .then(({ instance }) => go.run(instance))
      .catch(reject);
  });
}
