/** Reads a DICOM file (PS3.10) with dicom-parser: the patient, the study, and the encoding of its pixels. */
import dicomParser, { type DataSet } from 'dicom-parser';
import { DemoError } from '../demo-error.js';
import type { PixelFormat, Window } from './pixels.js';
import { syntaxOf } from './syntax.js';
import { dateValue, decodeText, encodingOf, personName } from './text.js';

export interface DicomFile {
  dataSet: DataSet;
  patientName: string;
  patientId: string;
  birthDate: string;
  modality: string;
  description: string;
  studyDate: string;
  transferSyntax: string;
  frames: number;
  /** `null` if the file has no image, such as a report, a plan or a curve. */
  format: PixelFormat | null;
}

/** Rejects with `malformed` if the file is not DICOM. It does not draw: see draw.ts. */
export function readDicom(bytes: Uint8Array): DicomFile {
  const dataSet = parse(bytes);
  const encoding = encodingOf(dataSet.string('x00080005') ?? '');
  const text = (tag: string) => {
    const element = dataSet.elements[tag];
    return element
      ? decodeText(
          bytes.subarray(element.dataOffset, element.dataOffset + element.length),
          encoding,
        )
      : '';
  };
  const transferSyntax = dataSet.string('x00020010') ?? '';
  return {
    dataSet,
    patientName: personName(text('x00100010')),
    patientId: text('x00100020'),
    birthDate: dateValue(text('x00100030')),
    modality: text('x00080060'),
    description: [text('x00081030'), text('x0008103e')].filter(Boolean).join(', '),
    studyDate: dateValue(text('x00080020')),
    transferSyntax,
    frames: Math.max(1, dataSet.intString('x00280008') ?? 1),
    format: dataSet.elements.x7fe00010
      ? pixelFormat(dataSet, syntaxOf(transferSyntax).encoding === 'big')
      : null,
  };
}

/** dicom-parser throws strings and objects; all of them mean malformed. */
function parse(bytes: Uint8Array): DataSet {
  try {
    return dicomParser.parseDicom(bytes);
  } catch {
    throw new DemoError(
      'malformed',
      'this file begins like DICOM, but cannot be read: it is damaged, cut off, or in a form unknown here',
    );
  }
}

function pixelFormat(dataSet: DataSet, bigEndian: boolean): PixelFormat {
  const number = (tag: string, otherwise: number) => dataSet.uint16(tag) ?? otherwise;
  const bitsAllocated = number('x00280100', 8);
  const bitsStored = Math.min(number('x00280101', bitsAllocated), bitsAllocated) || bitsAllocated;
  const signed = number('x00280103', 0) === 1;
  const words = dataSet.elements.x7fe00010?.vr === 'OW';
  return {
    rows: number('x00280010', 0),
    columns: number('x00280011', 0),
    samplesPerPixel: number('x00280002', 1),
    photometric: dataSet.string('x00280004') ?? 'MONOCHROME2',
    bitsAllocated,
    bitsStored,
    highBit: number('x00280102', bitsStored - 1),
    signed,
    bigEndian,
    swapped: bigEndian && words && bitsAllocated === 8,
    planar: number('x00280006', 0) === 1,
    slope: finite(dataSet.floatString('x00281053')) || 1,
    intercept: finite(dataSet.floatString('x00281052')) ?? 0,
    window: windowElements(dataSet),
    padding: (signed ? dataSet.int16('x00280120') : dataSet.uint16('x00280120')) ?? null,
  };
}

function windowElements(dataSet: DataSet): Window | null {
  const center = finite(dataSet.floatString('x00281050', 0));
  const width = finite(dataSet.floatString('x00281051', 0));
  return center === undefined || width === undefined ? null : { center, width };
}

function finite(n: number | undefined): number | undefined {
  return Number.isFinite(n) ? n : undefined;
}
