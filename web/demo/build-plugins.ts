import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { Plugin } from 'vite';

const COMPRESSED = /\.(js|css|wasm|html|svg|txt)$/;

/** Empties the output folder except for the placeholder, which the server needs to compile before the demo is built. */
export function cleanDist(): Plugin {
  let folder = '';
  return {
    name: 'clean-dist',
    apply: 'build',
    configResolved: (config) => void (folder = join(config.root, config.build.outDir)),
    buildStart: () => {
      for (const name of readdirSync(folder))
        if (name !== '.keep') rmSync(join(folder, name), { recursive: true });
    },
  };
}

/**
 * Writes file.br (RFC 7932) and file.gz (RFC 1952) beside every file that gains by it: the server sends the smallest that the
 * browser takes. Over plain HTTP browsers take gzip only.
 */
export function precompress(): Plugin {
  return {
    name: 'precompress',
    apply: 'build',
    writeBundle: ({ dir = '' }) => {
      for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
        if (COMPRESSED.test(name)) compress(join(dir, name));
      }
    },
  };
}

function compress(file: string): void {
  const content = readFileSync(file);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 11,
    [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
  };
  writeFileSync(`${file}.br`, brotliCompressSync(content, { params }));
  writeFileSync(`${file}.gz`, gzipSync(content, { level: 9 }));
}
