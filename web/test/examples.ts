/** The TSDoc examples of the public symbols, taken from the sources to be run. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { format } from 'node:util';
import { transform } from 'esbuild';
import { root } from './node.js';

/** One `@example` block. */
export interface Example {
  /** The file and line, and the title if there is one. */
  name: string;
  /** The language of its code block. */
  language: 'ts' | 'tsx';
  code: string;
  /** The output that its comments expect, one line for each call of console.log. */
  output: string[];
}

/** Reads the examples of the sources below a folder of web/src. Throws for an example without a code block. */
export function readExamples(folder: string): Example[] {
  const files = readdirSync(join(root, 'web/src', folder), { recursive: true, encoding: 'utf8' });
  return files
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.gen.ts'))
    .sort()
    .flatMap((file) => examplesOf(join(folder, file)));
}

function examplesOf(file: string): Example[] {
  const source = readFileSync(join(root, 'web/src', file), 'utf8');
  return [...source.matchAll(/^ *\* @example(.*)\n((?: *\*(?!\/| @).*\n)*)/gm)].map((match) => {
    const [, title = '', body = ''] = match;
    const name = `${file}:${source.slice(0, match.index).split('\n').length}${title}`;
    const text = body.replace(/^ *\* ?/gm, '');
    const [, language, code] = /^```(tsx?)\n([^]*?)```/m.exec(text) ?? [];
    if (!language || !code) throw new Error(`${name}: an example is a block of ts or tsx`);
    return { name, language: language as 'ts' | 'tsx', code, output: outputOf(code) };
  });
}

/** Collects the comments behind console.log, and whole lines of comments after it. */
function outputOf(code: string): string[] {
  const output: string[] = [];
  let printed = false;
  for (const line of code.split('\n')) {
    const [, comment] = /\/\/ (.*)$/.exec(line) ?? [];
    const prints = line.includes('console.log(');
    if (comment && (prints || (printed && line.trim().startsWith('//')))) output.push(comment);
    printed = prints || (printed && line.trim().startsWith('//'));
  }
  return output;
}

/** Runs an example with the given modules by their names, and returns the lines that it printed. */
export async function runExample(
  { code, language }: Example,
  modules: Record<string, unknown>,
): Promise<string[]> {
  const plain = code
    .replace(/^import type .*;$/gm, '')
    .replace(
      /^import \{([^}]*)\} from ('[^']*');$/gm,
      (_, names: string, from: string) =>
        `const {${names.replace(/type \w+,?/g, '')}} = modules[${from}];`,
    );
  const { code: js } = await transform(plain, { loader: language });
  const printed: string[] = [];
  const console = { log: (...args: unknown[]) => printed.push(...format(...args).split('\n')) };
  const run = new Function('modules', 'console', `return (async () => {\n${js}\n})()`) as (
    ...args: unknown[]
  ) => Promise<void>;
  await run(modules, console);
  return printed;
}
