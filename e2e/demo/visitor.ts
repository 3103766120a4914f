/**
 * The actions and views of a visitor of the demo. The functions run in a page, which receives only their source: they may refer only
 * to globals of the page. One of these is `visitor`, which installVisitor defines.
 */

/** The actions of a visitor on a page. */
export interface Visitor {
  problems: string[];
  until<T>(find: () => T): Promise<NonNullable<T>>;
  type(selector: string, text: string): Promise<void>;
  press(name: string): Promise<void>;
  text(selector: string): Promise<string>;
}
declare global {
  var visitor: Visitor;
}

export function installVisitor(): void {
  const problems: string[] = [];
  addEventListener('error', ({ message }) => problems.push(message));
  addEventListener('unhandledrejection', ({ reason }) => problems.push(String(reason)));
  addEventListener('securitypolicyviolation', (v) =>
    problems.push(`${v.violatedDirective} ${v.blockedURI}`),
  );
  console.error = (...args: unknown[]) => problems.push(args.join(' '));
  const until = async <T>(find: () => T): Promise<NonNullable<T>> => {
    for (
      const deadline = Date.now() + 240_000;
      Date.now() < deadline;
      await new Promise((pass) => setTimeout(pass, 20))
    ) {
      const found = find();
      if (found) return found;
    }
    throw new Error(`not found: ${find}; the page says: ${document.body.innerText.slice(0, 2000)}`);
  };
  const find = <E extends Element>(selector: string) =>
    until(() => document.querySelector<E>(selector));
  const type = async (selector: string, text: string) => {
    const field = await find<HTMLInputElement>(selector);
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')?.set?.call(field, text); // past React's own setter
    field.dispatchEvent(new Event('input', { bubbles: true }));
  };
  const press = async (name: string) => {
    const buttons = () => [...document.querySelectorAll<HTMLButtonElement>('button:enabled')];
    (await until(() => buttons().find((button) => button.textContent?.includes(name)))).click();
  };
  const text = async (selector: string) => (await find<HTMLElement>(selector)).innerText;
  Object.assign(globalThis, { visitor: { problems, until, type, press, text } satisfies Visitor });
}

/** Every stored value of the vault's database. */
export async function bytesAtRest(): Promise<Uint8Array> {
  const opening = indexedDB.open('coffer-demo');
  await new Promise((resolve, reject) =>
    Object.assign(opening, { onsuccess: resolve, onerror: reject }),
  );
  const request = opening.result
    .transaction('records')
    .objectStore('records')
    .getAll() as IDBRequest<{ head: Uint8Array<ArrayBuffer>; body: BufferSource }[]>;
  await new Promise((resolve, reject) =>
    Object.assign(request, { onsuccess: resolve, onerror: reject }),
  );
  opening.result.close();
  return new Uint8Array(
    await new Blob(request.result.flatMap(({ head, body }) => [head, body])).arrayBuffer(),
  );
}

/** The pixels of the canvas, once they are drawn. */
export async function drawnPixels(): Promise<Uint8Array> {
  const canvas = await visitor.until(() => document.querySelector('canvas'));
  const read = () => canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data;
  await visitor.until(() => read().some(Boolean));
  return new Uint8Array(read());
}

/** A JPEG of 16 x 16 pixels, its left half red and its right half blue. */
export async function redAndBlue(): Promise<Uint8Array> {
  const canvas = Object.assign(document.createElement('canvas'), { width: 16, height: 16 });
  const context = canvas.getContext('2d')!;
  for (const [colour, x] of [
    ['#f00', 0],
    ['#00f', 8],
  ] as const) {
    context.fillStyle = colour;
    context.fillRect(x, 0, 8, 16);
  }
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/jpeg', 1));
  return new Uint8Array(await blob!.arrayBuffer());
}

/** Drops a file on the page. */
export async function drop(content: string | Uint8Array<ArrayBuffer>, name: string): Promise<void> {
  const files = new DataTransfer();
  files.items.add(new File([content], name));
  document.body.dispatchEvent(
    new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }),
  );
}

/** Unlocks the vault, or creates it. */
export async function unlock(password: string): Promise<void> {
  const form = await visitor.until(() =>
    document.querySelector<HTMLButtonElement>('.unlock [type=submit]:enabled'),
  );
  await visitor.type('#password', password);
  form.click();
}

/** The bytes that the hex view shows. */
export async function shownBytes(): Promise<string> {
  await visitor.until(() => document.querySelector('.hex-row'));
  return [...document.querySelectorAll('.hex-bytes')]
    .map(({ textContent }) => textContent)
    .join('')
    .replaceAll(' ', '');
}
