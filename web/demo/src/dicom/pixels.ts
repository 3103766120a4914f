/** Converts stored pixel values to colours (DICOM PS3.3 C.7.6.3 and C.11), without a canvas or a parser. */

/** The encoding and the presentation of the pixels of an image. */
export interface PixelFormat {
  rows: number;
  columns: number;
  samplesPerPixel: number;
  photometric: string;
  /** 8, 16 or 32. */
  bitsAllocated: number;
  bitsStored: number;
  highBit: number;
  signed: boolean;
  bigEndian: boolean;
  /** Bytes were written as big-endian words, so each pair is swapped (PS3.5 annex A.3). */
  swapped: boolean;
  /** Colours are stored plane by plane instead of pixel by pixel. */
  planar: boolean;
  slope: number;
  intercept: number;
  window: Window | null;
  /** The stored value of padding around the image. It is excluded from the range of values. */
  padding: number | null;
}

/** The displayed range of values: the centre is middle grey, the width spans black to white. */
export interface Window {
  center: number;
  width: number;
}

/** An image with 4 bytes per pixel, as ImageData has it. */
export interface Raster {
  width: number;
  height: number;
  rgba: Uint8ClampedArray<ArrayBuffer>;
}

/** The length in bytes of one frame. */
export function frameLength(f: PixelFormat): number {
  const bytes = (f.rows * f.columns * f.samplesPerPixel * f.bitsAllocated) / 8;
  return f.swapped ? bytes + (bytes % 2) : bytes;
}

/** Reads stored values: extracts the stored bits below the high bit, and extends their sign. */
export function readSamples(bytes: Uint8Array, f: PixelFormat): Int32Array | Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = f.bitsAllocated / 8;
  const count = f.rows * f.columns * f.samplesPerPixel;
  const samples = f.signed ? new Int32Array(count) : new Uint32Array(count);
  const drop = Math.max(0, f.highBit + 1 - f.bitsStored);
  const spare = 32 - f.bitsStored;
  for (let i = 0; i < count; i++) {
    const raw = readRaw(view, f.swapped ? i ^ 1 : i * size, size, !f.bigEndian) >>> drop;
    samples[i] = f.signed ? (raw << spare) >> spare : (raw << spare) >>> spare;
  }
  return samples;
}

function readRaw(view: DataView, at: number, size: number, little: boolean): number {
  return size === 1
    ? view.getUint8(at)
    : size === 2
      ? view.getUint16(at, little)
      : view.getUint32(at, little);
}

/** The window of the file, or the whole range of its values. */
export function windowOf(samples: ArrayLike<number>, f: PixelFormat): Window {
  if (f.window && f.window.width >= 1) return f.window;
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < samples.length; i++) {
    const stored = samples[i] ?? 0;
    if (stored === f.padding) continue;
    if (stored < low) low = stored;
    if (stored > high) high = stored;
  }
  if (low > high) [low, high] = [0, 0];
  const ends = [low * f.slope + f.intercept, high * f.slope + f.intercept];
  const [dark, bright] = [Math.min(...ends), Math.max(...ends)];
  return { center: (dark + bright + 1) / 2, width: bright - dark + 1 };
}

/** Maps a value to a brightness from 0 to 255, by the linear function of PS3.3 C.11.2.1.2.1. */
export function brightness(value: number, { center, width }: Window): number {
  if (width <= 1) return value <= center - 0.5 ? 0 : 255;
  return Math.min(255, Math.max(0, ((value - (center - 0.5)) / (width - 1) + 0.5) * 255));
}

/** Draws grey values through modality rescale and window; MONOCHROME1 shows low values bright. */
export function greyRaster(
  samples: ArrayLike<number>,
  f: PixelFormat,
  window = windowOf(samples, f),
): Raster {
  const rgba = new Uint8ClampedArray(f.rows * f.columns * 4);
  const inverted = f.photometric === 'MONOCHROME1';
  for (let i = 0; i * 4 < rgba.length; i++) {
    const bright = brightness((samples[i] ?? 0) * f.slope + f.intercept, window);
    const shown = inverted ? 255 - bright : bright;
    setPixel(rgba, i, shown, shown, shown);
  }
  return { width: f.columns, height: f.rows, rgba };
}

/** Draws colours, RGB or YBR_FULL (PS3.3 C.7.6.3.1.2), of 8 bits or scaled down to them. */
export function colourRaster(samples: ArrayLike<number>, f: PixelFormat): Raster {
  const count = f.rows * f.columns;
  const [next, component] = f.planar ? [1, count] : [3, 1];
  const scale = 255 / (2 ** f.bitsStored - 1);
  const rgba = new Uint8ClampedArray(count * 4);
  const at = (pixel: number, c: number) => (samples[pixel * next + c * component] ?? 0) * scale;
  for (let i = 0; i < count; i++) {
    const [a, b, c] = [at(i, 0), at(i, 1), at(i, 2)];
    if (f.photometric === 'RGB') setPixel(rgba, i, a, b, c);
    else setYbr(rgba, i, a, b - 128, c - 128);
  }
  return { width: f.columns, height: f.rows, rgba };
}

function setYbr(rgba: Uint8ClampedArray, i: number, y: number, cb: number, cr: number): void {
  setPixel(rgba, i, y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb);
}

/** Sets an opaque pixel; the array rounds and clamps. */
function setPixel(
  rgba: Uint8ClampedArray,
  i: number,
  red: number,
  green: number,
  blue: number,
): void {
  rgba[i * 4] = red;
  rgba[i * 4 + 1] = green;
  rgba[i * 4 + 2] = blue;
  rgba[i * 4 + 3] = 255;
}
