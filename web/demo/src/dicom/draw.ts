/** Draws the first frame of a DICOM file. Errors explain in one sentence why it cannot be drawn. */
import dicomParser, { type Element } from 'dicom-parser';
import { DemoError } from '../demo-error.js';
import type { DicomFile } from './file.js';
import {
  type PixelFormat,
  type Raster,
  colourRaster,
  frameLength,
  greyRaster,
  readSamples,
} from './pixels.js';
import { syntaxOf } from './syntax.js';

/** Rejects with `no_image` or `not_drawn`. */
export async function drawDicom(file: DicomFile): Promise<Raster> {
  const element = file.dataSet.elements.x7fe00010;
  if (!element || !file.format)
    throw new DemoError(
      'no_image',
      `this DICOM file holds no image (${file.modality || 'no modality'}): it was stored and opened all the same`,
    );
  const { name, encoding } = syntaxOf(file.transferSyntax);
  if (encoding === 'compressed') throw notDrawn(`its pixels are compressed as ${name}`);
  if (encoding === 'jpeg') return drawJpeg(file, element, file.format);
  return drawRaw(
    file.dataSet.byteArray.subarray(element.dataOffset, element.dataOffset + element.length),
    file.format,
  );
}

function notDrawn(why: string): DemoError {
  return new DemoError(
    'not_drawn',
    `the demo does not draw this image: ${why}. The file itself is stored and opened byte for byte`,
  );
}

/** Draws uncompressed pixels. Lengths are checked before anything is allocated. */
export function drawRaw(bytes: Uint8Array, f: PixelFormat): Raster {
  if (![8, 16, 32].includes(f.bitsAllocated))
    throw notDrawn(`it has ${f.bitsAllocated} bit a sample`);
  if (f.rows === 0 || f.columns === 0 || frameLength(f) > bytes.length)
    throw notDrawn('its pixels are missing or cut off');
  if (f.photometric.startsWith('MONOCHROME') && f.samplesPerPixel === 1)
    return greyRaster(readSamples(bytes, f), f);
  if (['RGB', 'YBR_FULL'].includes(f.photometric) && f.samplesPerPixel === 3)
    return colourRaster(readSamples(bytes, f), f);
  throw notDrawn(`its colours are given as ${f.photometric}`);
}

/** JPEG Baseline is 8 bit and decoded by the browser; grey values still go through the window. */
async function drawJpeg({ dataSet }: DicomFile, element: Element, f: PixelFormat): Promise<Raster> {
  const offsets = element.basicOffsetTable?.length
    ? undefined
    : dicomParser.createJPEGBasicOffsetTable(dataSet, element);
  const jpeg = new Uint8Array(dicomParser.readEncapsulatedImageFrame(dataSet, element, 0, offsets));
  const raster = await decodeImage(new Blob([jpeg], { type: 'image/jpeg' }));
  if (!f.photometric.startsWith('MONOCHROME')) return raster;
  const samples = raster.rgba.filter((_, i) => i % 4 === 0);
  return greyRaster(samples, { ...f, rows: raster.height, columns: raster.width });
}

async function decodeImage(blob: Blob): Promise<Raster> {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' }).catch(() => {
    throw notDrawn('the browser could not decode its JPEG data');
  });
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext('2d');
  if (!context) throw notDrawn('the browser gave no canvas');
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { width, height, data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return { width, height, rgba: new Uint8ClampedArray(data) };
}
