/** The real `coffer serve` for tests, and a proxy in front of it that simulates failures of a network. */
import { once } from 'node:events';
import {
  type IncomingMessage,
  type ServerResponse,
  createServer,
  request as send,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { launch } from './harness/index.js';

export interface CofferServer {
  origin: string;
  token: string;
  close(): Promise<void>;
}

/** Starts a built binary with an embedded store below `data`, on a free port. */
export async function startCoffer(
  binary: string,
  data: string,
  ...more: string[]
): Promise<CofferServer> {
  const { child, stop } = await launch(
    binary,
    ['serve', '--listen', '127.0.0.1:0', '--data', data, ...more],
    {
      env: { PATH: process.env.PATH }, // no REDIS_URL of the machine
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let log = '';
  (child.stderr as Readable).setEncoding('utf8').on('data', (text: string) => (log += text));
  let printed = '';
  for await (const chunk of (child.stdout as Readable)
    .setEncoding('utf8')
    .iterator({ destroyOnReturn: false })) {
    printed += chunk;
    const [, token, port] =
      /token: (\S+)[^]*listening: http:\/\/127\.0\.0\.1:(\d+)/.exec(printed) ?? [];
    if (!token) continue;
    return { origin: `http://localhost:${port}`, token, close: stop };
  }
  throw new Error(`the server ended: ${log}`);
}

/**
 * How the proxy fails a request. It responds instead of the server (429 with a Retry-After of 1 second, or of a minute for `busy`;
 * 503; 504; a proxy's error page). Or it closes the connection before it forwards the request, after the server processed it, or
 * in the middle of the response. Or it sends nothing.
 */
export type Fault =
  | 'none'
  | '429'
  | 'busy'
  | '503'
  | '504'
  | 'page'
  | 'cut'
  | 'lost'
  | 'half'
  | 'silence';

export interface TestProxy {
  origin: string;
  /** Sets the faults of the next requests. Later requests are forwarded without a fault. */
  plan(...faults: Fault[]): void;
  /** The requests since the last call of plan, as method and path. */
  seen: string[];
  close(): Promise<void>;
}

const codes = {
  '429': 'rate_limited',
  busy: 'rate_limited',
  '503': 'store_unavailable',
  '504': 'timeout',
};

export async function startProxy(target: string): Promise<TestProxy> {
  let faults: Fault[] = [];
  const seen: string[] = [];

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const fault = faults.shift() ?? 'none';
    seen.push(`${request.method} ${request.url}`);
    const body = await buffer(request);
    if (fault === 'silence') return;
    if (fault === 'cut') return void request.socket.destroy();
    if (fault === 'page')
      return void response.writeHead(404, { 'Content-Type': 'text/html' }).end('<h1>Not here</h1>');
    if (fault in codes) {
      const [status, code] = [Number(fault) || 429, codes[fault as keyof typeof codes]];
      const problem = JSON.stringify({
        title: '',
        status,
        code,
        detail: 'planned',
        requestId: 'planned',
      });
      const wait = status === 429 ? { 'Retry-After': fault === 'busy' ? '60' : '1' } : {};
      return void response
        .writeHead(status, {
          'Content-Type': 'application/problem+json',
          'X-Request-Id': 'planned',
          ...wait,
        })
        .end(problem);
    }
    const upstream = send(target + request.url, {
      method: request.method,
      headers: request.headers,
    });
    upstream.end(body);
    const [answer] = (await once(upstream, 'response')) as [IncomingMessage];
    const bytes = await buffer(answer);
    if (fault === 'lost') return void request.socket.destroy();
    response.writeHead(answer.statusCode!, answer.headers);
    if (fault !== 'half') return void response.end(bytes);
    response.write(bytes.subarray(0, bytes.length / 2), () => request.socket.destroy());
  }

  const server = createServer(
    (request, response) =>
      void handle(request, response).catch((error: Error) => response.destroy(error)),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    plan: (...next) => {
      faults = next;
      seen.length = 0;
    },
    seen,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
