import { describe, expect, test } from 'vitest';
import { ctSample } from '../samples/ct.js';
import { patientSample } from '../samples/patient.js';
import { formatJson, parseFhir, patientIdOf, summarize, textOf, titleOf } from './fhir.js';
import { identify } from './identify.js';

const json = (value: unknown, name = 'a.json') => new File([JSON.stringify(value)], name);
const bytes = (...values: number[]) => new File([Uint8Array.from(values)], 'a.bin');
const resource = (type: string, fields: object) =>
  parseFhir(JSON.stringify({ resourceType: type, ...fields }))!;

describe('identify', () => {
  test('a DICOM file, whatever its name', async () => {
    const renamed = new File([ctSample()], 'holiday.jpg');
    expect(await identify(renamed)).toMatchObject({
      kind: 'dicom',
      suggested: 'phi',
      title: 'Marta Lindqvist',
      context: { kind: 'dicom', patientId: 'DEMO-0417' },
    });
  });

  test('a FHIR record, also behind a byte order mark', async () => {
    expect(await identify(patientSample())).toMatchObject({
      kind: 'fhir',
      suggested: 'phi',
      title: 'Marta Elin Lindqvist',
      context: { patientId: 'demo-0417' },
    });
    expect(await identify(new File(['\ufeff', '{"resourceType":"Patient"}'], 'a'))).toMatchObject({
      kind: 'fhir',
      context: { kind: 'fhir' },
    });
  });

  test('images by their first bytes', async () => {
    expect(await identify(bytes(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a))).toMatchObject({
      kind: 'image',
      suggested: 'pii',
    });
    expect(await identify(bytes(0xff, 0xd8, 0xff, 0xe0))).toMatchObject({ kind: 'image' });
    expect(await identify(new File(['RIFF\x01\x02\x03\x04WEBP'], 'a'))).toMatchObject({
      kind: 'image',
    });
  });

  test('anything else is a file', async () => {
    expect(await identify(json({ no: 'resource' }))).toMatchObject({
      kind: 'file',
      suggested: 'confidential',
      context: { kind: 'file' },
    });
    expect(await identify(new File(['{ broken'], 'a.json'))).toMatchObject({ kind: 'file' });
    expect(await identify(new File([], 'empty'))).toMatchObject({ kind: 'file' });
  });

  test('ids that a context cannot hold are left out', async () => {
    expect((await identify(json({ resourceType: 'Patient', id: 'x'.repeat(65) }))).context).toEqual(
      { kind: 'fhir' },
    );
    expect(
      (await identify(new File(['{"resourceType":"Patient","id":"\\ud800"}'], 'a'))).context,
    ).toEqual({ kind: 'fhir' });
  });

  test('damaged DICOM and unreadable files are refused', async () => {
    const damaged = new File([ctSample().slice(0, 300)], 'a.dcm');
    await expect(identify(damaged)).rejects.toMatchObject({ code: 'malformed' });
    const gone = Object.assign(new File(['x'], 'a'), {
      slice: () => ({ arrayBuffer: () => Promise.reject(new Error('gone')) }),
    });
    await expect(identify(gone as unknown as File)).rejects.toMatchObject({ code: 'not_readable' });
    await expect(identify({ name: 'huge', size: (64 << 20) + 1 } as File)).rejects.toMatchObject({
      code: 'too_large',
    });
  });
});

describe('FHIR', () => {
  test('the patient is found by reference, and in a bundle', () => {
    expect(patientIdOf(resource('Observation', { subject: { reference: 'Patient/p1' } }))).toBe(
      'p1',
    );
    expect(
      patientIdOf(
        resource('Immunization', {
          patient: { reference: 'https://example.org/fhir/Patient/p2/_history/1' },
        }),
      ),
    ).toBe('p2');
    expect(patientIdOf(resource('Observation', { subject: { reference: 'Device/d' } }))).toBe('');
    const bundle = resource('Bundle', {
      entry: [
        { resource: { resourceType: 'Device' } },
        { resource: { resourceType: 'Patient', id: 'p3', name: [{ text: 'A B' }] } },
      ],
    });
    expect([patientIdOf(bundle), titleOf(bundle)]).toEqual(['p3', 'A B']);
  });

  test.each([
    [{ prefix: ['Dr.'], given: ['A', 'B'], family: 'C' }, 'Dr. A B C'],
    [
      { line: ['1 Road'], postalCode: '00417', city: 'Town', country: 'Land' },
      '1 Road, 00417 Town, Land',
    ],
    [{ coding: [{ system: 'urn:x', code: '8480-6', display: 'Systolic' }] }, 'Systolic'],
    [{ coding: [{ system: 'urn:x', code: '8480-6' }] }, '8480-6'],
    [{ value: 120, unit: 'mmHg' }, '120 mmHg'],
    [{ value: 0, unit: 'mm' }, '0 mm'],
    [{ start: '2020' }, '2020 to …'],
    [{ reference: 'Patient/1', display: 'A' }, 'A'],
    [{ language: { text: 'Swedish' }, preferred: true }, 'Swedish'],
    [[1, 2, 3, 4, 5, 6, 7, 8], '1; 2; 3; 4; 5; 6; and 2 more'],
    [true, 'yes'],
    [null, ''],
  ])('%j reads as "%s"', (value, text) => expect(textOf(value)).toBe(text));

  test('a summary names fields, leaves out what says nothing, and shortens', () => {
    const rows = summarize(
      resource('Observation', {
        text: { div: '<b>' },
        effectiveDateTime: '2026',
        note: [],
        comment: 'x'.repeat(500),
      }),
    );
    expect(rows).toEqual([
      ['Effective date time', '2026'],
      ['Comment', `${'x'.repeat(240)}…`],
    ]);
  });

  test('a resource nested without end is read to an end', () => {
    let nested: unknown = 'deep';
    for (let i = 0; i < 1000; i++) nested = { part: nested };
    expect(textOf(nested)).toBe('');
  });

  test('hostile nesting is neither followed nor fatal', () => {
    const depth = 50_000;
    const text = `${'{"resourceType":"Bundle","entry":[{"resource":'.repeat(depth)}null${'}]}'.repeat(depth)}`;
    const bundle = parseFhir(text);
    if (bundle)
      expect([titleOf(bundle), patientIdOf(bundle), summarize(bundle)]).toEqual(['', '', []]);
    expect(formatJson(text)).toContain('Bundle');
    expect(formatJson('{"a":[1]}')).toBe('{\n  "a": [\n    1\n  ]\n}');
    expect(formatJson('no JSON')).toBe('no JSON');
  });
});
