/** A small picture of a file for the list. It is sealed with the record's description, like everything else. */
import { drawDicom } from '../dicom/draw.js';
import { readDicom } from '../dicom/file.js';
import type { Content } from './identify.js';

const SIDE = 72;

/** A data URL of a JPEG of a few KB; undefined where there is nothing to draw. */
export async function previewOf({ file, kind }: Content): Promise<string | undefined> {
  if (kind !== 'image' && kind !== 'dicom') return undefined;
  try {
    return await scaled(kind === 'image' ? await createImageBitmap(file) : await bitmapOf(file));
  } catch {
    return undefined; // not drawn is not lost: the record's own view says why
  }
}

async function bitmapOf(file: File): Promise<ImageBitmap> {
  const { width, height, rgba } = await drawDicom(
    readDicom(new Uint8Array(await file.arrayBuffer())),
  );
  return createImageBitmap(new ImageData(rgba, width, height));
}

/** The middle of the picture, as a square. */
async function scaled(bitmap: ImageBitmap): Promise<string | undefined> {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIDE;
  const side = Math.min(bitmap.width, bitmap.height);
  canvas
    .getContext('2d')
    ?.drawImage(
      bitmap,
      (bitmap.width - side) / 2,
      (bitmap.height - side) / 2,
      side,
      side,
      0,
      0,
      SIDE,
      SIDE,
    );
  bitmap.close();
  return canvas.toDataURL('image/jpeg', 0.75);
}
