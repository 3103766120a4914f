/** Summarises a FHIR resource (HL7 FHIR R4, JSON), without validating it. */

export type Node = Record<string, unknown>;

export interface Resource extends Node {
  resourceType: string;
}

/** One line of a summary. */
export type Row = readonly [label: string, text: string];

/** Parses a resource; `null` if the text is not JSON with a resourceType. */
export function parseFhir(text: string): Resource | null {
  try {
    const value: unknown = JSON.parse(text.replace(/^\ufeff/, ''));
    return isNode(value) && typeof value.resourceType === 'string' ? (value as Resource) : null;
  } catch {
    return null;
  }
}

/** Indents JSON. Other text, and JSON that is nested too deeply, is returned as it is. */
export function formatJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The title of a resource: a patient's name, a code or a title; otherwise empty. */
export function titleOf(resource: Resource): string {
  if (resource.resourceType === 'Bundle') {
    const patient = entriesOf(resource).find(({ resourceType }) => resourceType === 'Patient');
    return textOf(firstOf(patient?.name));
  }
  for (const field of [
    'name',
    'title',
    'code',
    'vaccineCode',
    'medicationCodeableConcept',
    'description',
    'type',
  ]) {
    const first = firstOf(resource[field]);
    if (first !== undefined) return textOf(first);
  }
  return '';
}

/** The id of the patient that a resource is or refers to; otherwise empty. */
export function patientIdOf(resource: Resource): string {
  if (resource.resourceType === 'Patient') return textOf(resource.id);
  if (resource.resourceType === 'Bundle') {
    const entries = entriesOf(resource).filter(({ resourceType }) => resourceType !== 'Bundle');
    return entries.map(patientIdOf).find(Boolean) ?? '';
  }
  for (const field of ['patient', 'subject', 'beneficiary']) {
    const reference = firstOf(resource[field]);
    const [, id] =
      (isNode(reference) && /(?:^|\/)Patient\/([^/]+)/.exec(textOf(reference.reference))) || [];
    if (id) return id;
  }
  return '';
}

/** The resources of a Bundle. */
export function entriesOf(bundle: Resource): Resource[] {
  const resources = asList(bundle.entry).map((entry) =>
    isNode(entry) ? entry.resource : undefined,
  );
  return resources.filter(
    (resource): resource is Resource =>
      isNode(resource) && typeof resource.resourceType === 'string',
  );
}

const skipped = new Set([
  'resourceType',
  'text',
  'meta',
  'contained',
  'extension',
  'modifierExtension',
  'entry',
  'photo',
  'data',
  'implicitRules',
  'link',
]);

/** The fields of a resource that fit in a line. */
export function summarize(resource: Resource): Row[] {
  const rows = Object.entries(resource).filter(
    ([field]) => !skipped.has(field) && !field.startsWith('_'),
  );
  return rows
    .map(([field, value]) => [labelOf(field), shortened(textOf(value))] as const)
    .filter(([, text]) => text !== '');
}

function shortened(text: string): string {
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH).trimEnd()}…` : text;
}

/** Formats `effectiveDateTime` as `Effective date time`. */
function labelOf(field: string): string {
  const words = field.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const MAX_LISTED = 6;
const MAX_LENGTH = 240;
const MAX_DEPTH = 5;

/** Formats any FHIR data type as a line of text, by its shape. */
export function textOf(value: unknown, depth = 0): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (depth > MAX_DEPTH) return '';
  if (Array.isArray(value)) return listText(value, depth);
  return isNode(value) ? nodeText(value, (part) => textOf(part, depth + 1)) : '';
}

function listText(list: readonly unknown[], depth: number): string {
  const texts = list
    .slice(0, MAX_LISTED)
    .map((item) => textOf(item, depth + 1))
    .filter(Boolean);
  return (
    texts.join('; ') + (list.length > MAX_LISTED ? `; and ${list.length - MAX_LISTED} more` : '')
  );
}

/** The shapes of HumanName, Address, CodeableConcept, Quantity, Period, Reference and Identifier; other elements show all their parts. */
function nodeText(node: Node, text: (part: unknown) => string): string {
  const words = (...parts: unknown[]) => parts.flatMap(asList).map(text).filter(Boolean);
  if ('family' in node || 'given' in node)
    return words(node.prefix, node.given, node.family, node.suffix).join(' ');
  if ('line' in node || 'city' in node)
    return words(
      node.line,
      words(node.postalCode, node.city).join(' '),
      node.state,
      node.country,
    ).join(', ');
  if ('start' in node || 'end' in node)
    return `${text(node.start) || '…'} to ${text(node.end) || '…'}`;
  const said = text(node.text) || text(node.display);
  if (said) return said;
  if ('coding' in node) return text(firstOf(node.coding));
  if ('value' in node) return words(node.value, node.unit ?? node.currency ?? node.code).join(' ');
  if ('reference' in node) return text(node.reference);
  if ('code' in node && 'system' in node) return text(node.code);
  const rest = Object.entries(node).filter(
    ([field, part]) => !skipped.has(field) && typeof part !== 'boolean',
  );
  return words(...rest.map(([, part]) => part)).join(', ');
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value];
}

function firstOf(value: unknown): unknown {
  return asList(value)[0];
}
