// node drive.mjs WASM_EXEC CORE: reads steps from stdin as JSON, [{call, args, input}], and writes [{result, output}]. Bytes are hex.
// An argument is a number, "NaN" or "Infinity" as text, or {"step": i}, which is the result of an earlier step. A step with
// `times` is repeated until it fails, at most that many times; its result is the last one.
import { readFileSync } from 'node:fs';
import { boot } from './boot.mjs';

const core = boot(process.argv[2], process.argv[3]);
const results = [];
for (const { call, args, input, times = 1 } of JSON.parse(readFileSync(0, 'utf8'))) {
  const values = args.map((arg) =>
    typeof arg === 'object' ? results[arg.step].result : Number(arg),
  );
  core.input().set(Buffer.from(input, 'hex'));
  let result = 0;
  for (let i = 0; i < times && result >= 0; i++) result = core.exports[call](...values) ?? 0;
  const length = result > 0 && result <= core.half ? result : 0;
  results.push({ result, output: Buffer.from(core.output().subarray(0, length)).toString('hex') });
}
if (core.go.exited) throw new Error('the core exited');
process.stdout.write(JSON.stringify(results), () => process.exit(0)); // the core never exits
