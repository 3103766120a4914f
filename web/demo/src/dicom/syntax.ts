/** Transfer syntaxes (DICOM PS3.6 annex A.4), which define the encoding of pixels. */

/** Every browser decodes `jpeg`. This demo does not draw `compressed`. */
export type Encoding = 'little' | 'big' | 'jpeg' | 'compressed';

interface Syntax {
  name: string;
  encoding: Encoding;
}

const syntaxes: Record<string, Syntax> = {
  '1.2.840.10008.1.2': { name: 'Implicit VR Little Endian', encoding: 'little' },
  '1.2.840.10008.1.2.1': { name: 'Explicit VR Little Endian', encoding: 'little' },
  '1.2.840.10008.1.2.1.99': { name: 'Deflated Explicit VR Little Endian', encoding: 'compressed' },
  '1.2.840.10008.1.2.2': { name: 'Explicit VR Big Endian', encoding: 'big' },
  '1.2.840.10008.1.2.4.50': { name: 'JPEG Baseline', encoding: 'jpeg' },
  '1.2.840.10008.1.2.4.51': { name: 'JPEG Extended', encoding: 'compressed' },
  '1.2.840.10008.1.2.4.57': { name: 'JPEG Lossless', encoding: 'compressed' },
  '1.2.840.10008.1.2.4.70': { name: 'JPEG Lossless', encoding: 'compressed' },
  '1.2.840.10008.1.2.4.80': { name: 'JPEG-LS Lossless', encoding: 'compressed' },
  '1.2.840.10008.1.2.4.81': { name: 'JPEG-LS Near-Lossless', encoding: 'compressed' },
  '1.2.840.10008.1.2.4.90': { name: 'JPEG 2000 Lossless', encoding: 'compressed' },
  '1.2.840.10008.1.2.4.91': { name: 'JPEG 2000', encoding: 'compressed' },
  '1.2.840.10008.1.2.4.201': { name: 'High-Throughput JPEG 2000 Lossless', encoding: 'compressed' },
  '1.2.840.10008.1.2.5': { name: 'RLE Lossless', encoding: 'compressed' },
};

/** Returns a transfer syntax by its UID. An unknown one counts as compressed, so that its bytes are not mistaken for pixels. */
export function syntaxOf(uid: string): Syntax {
  return syntaxes[uid] ?? { name: `transfer syntax ${uid || 'not given'}`, encoding: 'compressed' };
}
