/** What the client sends, from arguments that are checked here. Each function throws `invalid_argument`. */
import {
  type Binary,
  type Duration,
  base64Of,
  bodyOf,
  checkClass,
  checkContext,
  checkHeader,
  checkKey,
  checkLeast,
  checkName,
  checkOptions,
  checkPageSize,
  checkSignal,
  checkTtl,
  invalid,
  textOrData,
} from './arguments.js';
import type {
  BatchOperation,
  EventFilter,
  GetOptions,
  KeyName,
  MatchOptions,
  Sealing,
  SetOptions,
} from './client.js';
import type { CallOptions, Sent } from './http.js';
import type { DataClassification } from '../index.js';
import type { components } from './openapi.gen.js';

type Schemas = components['schemas'];

export function writeOf(key: string, value: string | Blob | Binary, options: SetOptions): Sent {
  const {
    class: name,
    ttl,
    context,
    contentType,
    ifMatch,
    ifNoneMatch,
    signal,
  } = checkOptions(
    options,
    'class',
    'ttl',
    'context',
    'contentType',
    'ifMatch',
    'ifNoneMatch',
    'signal',
  );
  if (ifNoneMatch !== undefined && ifNoneMatch !== '*')
    throw invalid('ifNoneMatch of a write is *');
  const checked = checkContext(context);
  const headers = {
    'Coffer-Context': checked && asciiJson(checked),
    'Content-Type': contentType === '' ? undefined : checkHeader('contentType', contentType), // '' is what a Blob of an unknown type has
    'If-Match': checkHeader('ifMatch', ifMatch),
    'If-None-Match': ifNoneMatch,
  };
  const query = { class: checkClass(name), ttl: ttl === undefined ? undefined : checkTtl(ttl) };
  return {
    ...signalOf({ signal }),
    name: checkKey('key', key),
    query,
    headers,
    body: bodyOf(value),
  };
}

/** The signal among options that were checked. */
export function signalOf(options: { signal?: AbortSignal | undefined }): CallOptions {
  const signal = checkSignal(options.signal);
  return signal ? { signal } : {};
}

/** The header of a session's id, with the signal of the options. */
export const sessionOf = (id: string, options: CallOptions): Sent => ({
  ...callOf(options),
  headers: { 'Coffer-Session': checkHeader('id', checkKey('id', id)) },
});

export const callOf = (options: CallOptions): CallOptions =>
  signalOf(checkOptions(options, 'signal'));

export function readOf(key: string, options?: GetOptions): Sent {
  const { minClass, ifMatch, ifNoneMatch, signal } = checkOptions(
    options,
    'minClass',
    'ifMatch',
    'ifNoneMatch',
    'signal',
  );
  const headers = {
    'If-Match': checkHeader('ifMatch', ifMatch),
    'If-None-Match': checkHeader('ifNoneMatch', ifNoneMatch),
  };
  return {
    ...signalOf({ signal }),
    name: checkKey('key', key),
    query: { min_class: checkLeast(minClass) },
    headers,
  };
}

export function matchOf(key: string, options: MatchOptions): Sent {
  const { ifMatch, signal } = checkOptions(options, 'ifMatch', 'signal');
  return {
    ...signalOf({ signal }),
    name: checkKey('key', key),
    headers: { 'If-Match': checkHeader('ifMatch', ifMatch) },
  };
}

export function eventQuery(
  options: CallOptions & EventFilter & { pageSize?: number },
): Sent['query'] {
  const {
    tenant,
    action,
    severity,
    class: name,
    since,
    pageSize,
  } = checkOptions(options, 'tenant', 'action', 'severity', 'class', 'since', 'pageSize', 'signal');
  if (since !== undefined && !(since instanceof Date && !Number.isNaN(since.getTime())))
    throw invalid('since is not a valid Date');
  const texts = {
    tenant: checkName('tenant', tenant),
    action: checkName('action', action),
    severity: checkName('severity', severity),
  };
  return {
    ...texts,
    class: checkLeast(name),
    since: since?.toISOString(),
    limit: checkPageSize(pageSize),
  };
}

export function keyNameOf(key: KeyName): Record<string, string> {
  const { tenant, use, class: name, key: id } = checkOptions(key, 'tenant', 'use', 'class', 'key');
  return {
    tenant: checkKey('tenant', tenant),
    use: checkKey('use', use),
    class: checkClass(name),
    key: checkKey('key', id),
  };
}

/** All members that operations of a batch have. */
interface Step extends Partial<Sealing> {
  op: BatchOperation['op'];
  key: string;
  minClass?: DataClassification;
  contentType?: string;
  ttl?: Duration;
}

/** The members of an operation beside its key. */
const members: Record<BatchOperation['op'], string[]> = {
  get: ['minClass'],
  set: ['value', 'contentType', 'class', 'ttl', 'context'],
  delete: [],
};

export function stepOf(operation: BatchOperation): Schemas['BatchRequest']['operations'][number] {
  if (!Object.hasOwn(members, operation?.op)) throw invalid('op is get, set or delete');
  const {
    op,
    key,
    minClass,
    value,
    contentType,
    class: name,
    ttl,
    context,
  } = checkOptions(operation as Step, 'op', 'key', ...members[operation.op]);
  if (op === 'get')
    return {
      op,
      key: checkKey('key', key),
      ...(minClass !== undefined && { minClass: checkClass(minClass) }),
    };
  if (op === 'delete') return { op, key: checkKey('key', key) };
  const checked = checkContext(context);
  const type = contentType === '' ? undefined : checkHeader('contentType', contentType);
  return {
    op,
    key: checkKey('key', key),
    value: base64Of(value),
    class: checkClass(name),
    ...ttlMember(ttl),
    ...(type && { contentType: type }),
    ...(checked && { context: checked }),
  };
}

export const ttlMember = (ttl?: Duration): { ttl?: string } =>
  ttl === undefined ? {} : { ttl: checkTtl(ttl) };

export function sealingOf(sealing: Sealing): Schemas['EncryptRequest'] {
  const { value, class: name, context } = checkOptions(sealing, 'value', 'class', 'context');
  const checked = checkContext(context);
  return { ...textOrData(value), class: checkClass(name), ...(checked && { context: checked }) };
}

/** JSON in ASCII, the only text that a header carries safely. */
function asciiJson(value: Readonly<Record<string, string>>): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
