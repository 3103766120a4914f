/** The React hook in a component of its own, driven from the test. */
import { createElement, useLayoutEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { configure, setEncrypted } from '@coffer-storage/coffer';
import { type EncryptedValue, useEncryptedStorage } from '../../web/src/react/index.js';

type Hook = EncryptedValue<unknown>;

/** Renders the hook; `until` waits for a state, `early` is called before React runs the hook's effects. */
function render(early?: (h: Hook) => void) {
  let hook: Hook;
  const root = createRoot(document.createElement('div'));
  const Show = ({ name }: { name: string }) => {
    const now = (hook = useEncryptedStorage<unknown>(name, 'phi'));
    // biome-ignore lint/correctness/useExhaustiveDependencies: it runs once per name, not per render.
    useLayoutEffect(() => early?.(now), [name]);
    return null;
  };
  const until = async (done: (h: Hook) => boolean): Promise<Hook> => {
    while (!hook || !done(hook)) await new Promise((resolve) => setTimeout(resolve, 5));
    return hook;
  };
  return { show: (name: string) => root.render(createElement(Show, { name })), until };
}

const plain = ({ value, loading, error }: Hook) => [
  value,
  loading,
  (error as { code?: string } | null)?.code ?? null,
];
const codeOf = (p: Promise<unknown>) =>
  p.then(
    () => 'accepted',
    (e: { code?: string }) => e.code,
  );

export async function hook(masterKey: string): Promise<Record<string, unknown>> {
  configure({ unlock: { masterKey } });
  await setEncrypted('a', 'first', 'phi');
  await setEncrypted('b', 'other', 'phi');
  const { show, until } = render();
  const seen: Record<string, unknown> = {};
  const failing = render((h) => void codeOf(h.updateValue(undefined)));
  failing.show('a');
  seen.failedAtOnce = plain(await failing.until((h) => !h.loading && h.error !== null));
  const writing = render((h) => void h.updateValue('early'));
  writing.show('c');
  seen.writtenAtOnce = plain(await writing.until((h) => !h.loading && h.value !== null));
  show('a');
  const loading = await until(() => true);
  seen.failedWhileLoading = await codeOf(loading.updateValue(undefined));
  seen.loadedAllTheSame = plain(await until((h) => !h.loading && h.error !== null));
  await (await until(() => true)).updateValue('second');
  seen.updated = plain(await until((h) => h.value === 'second'));
  seen.refused = await codeOf((await until(() => true)).updateValue(10n));
  seen.keptWithError = plain(await until((h) => h.error !== null));
  const late = (await until(() => true)).updateValue(new Blob([new Uint8Array(4 << 20)]));
  show('b');
  seen.otherKey = plain(await until((h) => h.value === 'other'));
  await late;
  await new Promise((resolve) => setTimeout(resolve, 50));
  seen.stillTheOther = plain(await until(() => true));
  show('missing');
  seen.missing = plain(await until((h) => !h.loading && h.value === null));
  return seen;
}
