/**
 * A static HTTP server for tests, on 127.0.0.1 and a free port. Its origin is http://localhost:PORT,
 * a secure context in all three engines (WebCrypto, WebAuthn).
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { text } from 'node:stream/consumers';

/** The path to which a page posts its result as JSON. */
export const REPORT_PATH = '/__report';

const CONTENT_TYPES: Record<string, string> = {
  '': 'text/html; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
};

export interface ServeOptions {
  /** URL prefix ending in '/' -> folder. */
  folders?: Record<string, string>;
  /** URL path -> content; these come before folders. */
  files?: Record<string, string | Uint8Array>;
  /** URL path, or prefix ending in '/', -> response headers; the later entry wins. */
  headers?: Record<string, Record<string, string>>;
}

export interface Server {
  readonly origin: string;
  /** The in-memory files; may be changed while serving. */
  readonly files: Map<string, string | Uint8Array>;
  /** The next JSON posted to REPORT_PATH. Rejects when the server closes first. */
  nextReport(): Promise<unknown>;
  /** Stops at once, open connections included. */
  close(): Promise<void>;
}

type Waiting = { resolve(report: unknown): void; reject(error: Error): void };

export async function serve(options: ServeOptions = {}): Promise<Server> {
  const files = new Map(Object.entries(options.files ?? {}));
  const waiting = new Set<Waiting>();
  const server = createServer((request, response) => {
    const answered =
      request.url === REPORT_PATH
        ? takeReport(request, response, waiting)
        : answer(request, response);
    answered.catch((error: Error) => response.destroy(error));
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
    const content = files.get(path) ?? (await readFrom(options.folders ?? {}, path));
    response.statusCode = content === undefined ? 404 : 200;
    response.setHeader('Content-Type', CONTENT_TYPES[extname(path)] ?? 'application/octet-stream');
    response.setHeader('Cache-Control', 'no-store');
    for (const [name, value] of headersFor(options.headers ?? {}, path))
      response.setHeader(name, value);
    response.end(content ?? '');
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://localhost:${(server.address() as AddressInfo).port}`,
    files,
    nextReport: () => new Promise((resolve, reject) => waiting.add({ resolve, reject })),
    close: async () => {
      for (const { reject } of waiting) reject(new Error('the server closed before a report came'));
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Hands a page's report to everyone waiting; a page of another origin may report too. */
async function takeReport(
  request: IncomingMessage,
  response: ServerResponse,
  waiting: Set<Waiting>,
): Promise<void> {
  const body = await text(request);
  response
    .writeHead(204, { 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': '*' })
    .end();
  if (request.method !== 'POST') return; // a preflight
  const report: unknown = JSON.parse(body);
  for (const { resolve } of waiting) resolve(report);
  waiting.clear();
}

function headersFor(
  rules: Record<string, Record<string, string>>,
  path: string,
): [string, string][] {
  const matches = ([rule]: [string, unknown]) =>
    rule === path || (rule.endsWith('/') && path.startsWith(rule));
  return Object.entries(rules)
    .filter(matches)
    .flatMap(([, headers]) => Object.entries(headers));
}

async function readFrom(
  folders: Record<string, string>,
  path: string,
): Promise<Uint8Array | undefined> {
  for (const [prefix, folder] of Object.entries(folders)) {
    if (!path.startsWith(prefix)) continue;
    const below = normalize(`/${path.slice(prefix.length)}`); // '..' cannot climb above the folder
    const file = join(folder, below.endsWith('/') ? `${below}index.html` : below);
    const content = await readFile(file).catch(() => undefined);
    if (content) return content;
  }
  return undefined;
}
