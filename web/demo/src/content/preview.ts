/** A small image of a file for the list. It is sealed with the description of the record. */
import { drawDicom } from '../dicom/draw.js';
import { readDicom } from '../dicom/file.js';
import type { Content } from './identify.js';

const SIDE = 72;

/** Returns a data URL of a JPEG of a few KB; undefined if the file cannot be drawn. */
export async function previewOf({ file, kind }: Content): Promise<string | undefined> {
  if (kind !== 'image' && kind !== 'dicom') return undefined;
  try {
    return await scaled(kind === 'image' ? await createImageBitmap(file) : await bitmapOf(file));
  } catch {
    return undefined; // the view of the record reports the reason
  }
}

async function bitmapOf(file: File): Promise<ImageBitmap> {
  const { width, height, rgba } = await drawDicom(
    readDicom(new Uint8Array(await file.arrayBuffer())),
  );
  return createImageBitmap(new ImageData(rgba, width, height));
}

/** Crops the image to the square in its middle. */
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
