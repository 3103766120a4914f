/** Builds requests from arguments, which are checked here. Each function throws `invalid_argument`. */
import {
  type Binary,
  type Duration,
  encodeBase64,
  encodeBody,
  checkClass,
  checkContext,
  checkHeader,
  checkKey,
  checkOptionalClass,
  checkName,
  checkOptions,
  checkPageSize,
  checkSignal,
  checkTtl,
  invalid,
  encodeTextOrData,
} from './arguments.js';
import type {
  BatchOperation,
  EventFilter,
  GetOptions,
  KeyName,
  MatchOptions,
  Sealing,
  SetOptions,
  RotateOptions,
  ConfirmOptions,
} from './types.js';
import type { CallOptions, Sent } from './http.js';
import type { DataClassification } from '../index.js';
import type { components } from './openapi.gen.js';

type Schemas = components['schemas'];

/** Builds the request of a write. */
export function buildWrite(key: string, value: string | Blob | Binary, options: SetOptions): Sent {
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
    'Content-Type': contentType === '' ? undefined : checkHeader('contentType', contentType), // a Blob of an unknown type has ''
    'If-Match': checkHeader('ifMatch', ifMatch),
    'If-None-Match': ifNoneMatch,
  };
  const query = { class: checkClass(name), ttl: ttl === undefined ? undefined : checkTtl(ttl) };
  return {
    ...pickSignal({ signal }),
    name: checkKey('key', key),
    query,
    headers,
    body: encodeBody(value),
  };
}

/** Returns the signal of options whose names were checked. */
export function pickSignal(options: { signal?: AbortSignal | undefined }): CallOptions {
  const signal = checkSignal(options.signal);
  return signal ? { signal } : {};
}

/** Builds the request of a session. Its id is in a header. */
export const buildSession = (id: string, options: CallOptions): Sent => ({
  ...buildCall(options),
  headers: { 'Coffer-Session': checkHeader('id', checkKey('id', id)) },
});

/** Returns the signal of a call without other options. */
export const buildCall = (options: CallOptions): CallOptions =>
  pickSignal(checkOptions(options, 'signal'));

/** Builds the request of a read. */
export function buildRead(key: string, options?: GetOptions): Sent {
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
    ...pickSignal({ signal }),
    name: checkKey('key', key),
    query: { min_class: checkOptionalClass(minClass) },
    headers,
  };
}

/** Builds the request of a conditional change. */
export function buildMatch(key: string, options: MatchOptions): Sent {
  const { ifMatch, signal } = checkOptions(options, 'ifMatch', 'signal');
  return {
    ...pickSignal({ signal }),
    name: checkKey('key', key),
    headers: { 'If-Match': checkHeader('ifMatch', ifMatch) },
  };
}

/** Builds the query that selects events. */
export function buildEventQuery(
  options: CallOptions & EventFilter & { pageSize?: number },
): NonNullable<Sent['query']> {
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
    class: checkOptionalClass(name),
    since: since?.toISOString(),
    limit: checkPageSize(pageSize),
  };
}

/** Builds the members that name a key. */
export function buildKeyName(key: KeyName): Record<string, string> {
  const { tenant, use, class: name, key: id } = checkOptions(key, 'tenant', 'use', 'class', 'key');
  return {
    tenant: checkKey('tenant', tenant),
    use: checkKey('use', use),
    class: checkClass(name),
    key: checkKey('key', id),
  };
}

/** The members of every operation of a batch. */
interface Step extends Partial<Sealing> {
  op: BatchOperation['op'];
  key: string;
  minClass?: DataClassification;
  contentType?: string;
  ttl?: Duration;
}

/** The members of each operation besides its key. */
const members: Record<BatchOperation['op'], string[]> = {
  get: ['minClass'],
  set: ['value', 'contentType', 'class', 'ttl', 'context'],
  delete: [],
};

/** Builds one operation of a batch. */
export function buildOperation(
  operation: BatchOperation,
): Schemas['BatchRequest']['operations'][number] {
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
    value: encodeBase64(value),
    class: checkClass(name),
    ...buildTtl(ttl),
    ...(type && { contentType: type }),
    ...(checked && { context: checked }),
  };
}

/** Builds the `ttl` member of a request, if there is one. */
export const buildTtl = (ttl?: Duration): { ttl?: string } =>
  ttl === undefined ? {} : { ttl: checkTtl(ttl) };

/** Builds the request that seals a value. */
export function buildSealing(sealing: Sealing): Schemas['EncryptRequest'] {
  const { value, class: name, context } = checkOptions(sealing, 'value', 'class', 'context');
  const checked = checkContext(context);
  return {
    ...encodeTextOrData(value),
    class: checkClass(name),
    ...(checked && { context: checked }),
  };
}

/** Encodes JSON in ASCII, because headers carry nothing else safely. */
function asciiJson(value: Readonly<Record<string, string>>): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Builds the request of a rotation. */
export function buildRotation(options: RotateOptions): Record<string, unknown> {
  const {
    tenant,
    class: name,
    compromised = false,
    reason,
  } = checkOptions(options, 'tenant', 'class', 'compromised', 'reason', 'signal');
  if (typeof compromised !== 'boolean') throw invalid('compromised is true or false');
  return {
    tenant: checkName('tenant', tenant),
    class: checkOptionalClass(name),
    compromised: compromised || undefined,
    reason: checkName('reason', reason),
  };
}

/** Builds the members that confirm a change and state its reason. */
export function buildConfirmation(options: ConfirmOptions): Record<string, unknown> {
  const { confirmation, reason } = checkOptions(options, 'confirmation', 'reason', 'signal');
  return { confirm: checkName('confirmation', confirmation), reason: checkName('reason', reason) };
}
