/** The little of W3C WebDriver that the harness needs, over plain HTTP. */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { createServer } from 'node:net';
import { text } from 'node:stream/consumers';

/** Sends one command and returns its `value`. @throws Error with WebDriver's error and message */
export async function command(
  method: string,
  url: string,
  body?: unknown,
  timeoutMs = 300_000,
): Promise<unknown> {
  const { status, answer } = await exchange(method, url, body, timeoutMs).catch((cause: Error) => {
    const reason = cause.name === 'AbortError' ? `no answer in ${timeoutMs} ms` : cause.message;
    throw new Error(`WebDriver ${method} ${new URL(url).pathname}: ${reason}`, { cause });
  });
  const { value } = JSON.parse(answer);
  if (status === 200) return value;
  throw new Error(`WebDriver ${method} ${new URL(url).pathname}: ${value.error}: ${value.message}`);
}

async function exchange(method: string, url: string, body: unknown, timeoutMs: number) {
  // A connection per command: a kept one may be closed by the driver just as we write.
  const sent = request(url, { method, agent: false, signal: AbortSignal.timeout(timeoutMs) });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return { status: response.statusCode, answer: await text(response) };
}

const FIRST_PORT = 16_000;
const PORTS = 16_000;

/** A TCP port of 127.0.0.1 that was free a moment ago, below those that systems give out: no connection to elsewhere takes it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    const probe = createServer();
    const free = await new Promise<boolean>((resolve) =>
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)),
    );
    if (!free) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
}
