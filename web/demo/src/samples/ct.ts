/** A synthetic CT slice: ellipses with the densities of tissue, and noise from a fixed seed. */
import { type Entry, writeDicom } from '../dicom/write.js';

export const SIZE = 256;
export const WINDOW = { center: 40, width: 400 };

/** One tissue: an ellipse in a body from -1 to 1, turned by an angle, with its density in Hounsfield units. */
interface Shape {
  x: number;
  y: number;
  rx: number;
  ry: number;
  angle?: number;
  hu: number;
}

const AIR = -1000;

/** Later shapes cover earlier ones. */
const shapes: readonly Shape[] = [
  { x: 0, y: 0, rx: 0.88, ry: 0.66, hu: -95 }, // fat
  { x: 0, y: 0.01, rx: 0.8, ry: 0.58, hu: 55 }, // muscle
  { x: 0, y: -0.02, rx: 0.72, ry: 0.51, hu: 130 }, // chest wall
  { x: 0, y: -0.02, rx: 0.68, ry: 0.47, hu: -20 },
  { x: -0.37, y: -0.02, rx: 0.28, ry: 0.42, angle: 0.12, hu: -820 }, // lungs
  { x: 0.37, y: -0.02, rx: 0.28, ry: 0.42, angle: -0.12, hu: -820 },
  { x: -0.4, y: 0.1, rx: 0.05, ry: 0.045, hu: 20 }, // a nodule
  { x: -0.28, y: -0.12, rx: 0.022, ry: 0.022, hu: 35 }, // vessels
  { x: -0.33, y: 0.22, rx: 0.02, ry: 0.03, hu: 35 },
  { x: 0.42, y: -0.16, rx: 0.024, ry: 0.02, hu: 35 },
  { x: 0.36, y: 0.2, rx: 0.03, ry: 0.02, hu: 35 },
  { x: 0.09, y: -0.14, rx: 0.23, ry: 0.2, angle: 0.5, hu: 45 }, // heart
  { x: 0.12, y: -0.15, rx: 0.1, ry: 0.085, angle: 0.5, hu: 150 },
  { x: -0.03, y: -0.22, rx: 0.07, ry: 0.06, hu: 165 },
  { x: 0.11, y: 0.19, rx: 0.066, ry: 0.066, hu: 160 }, // aorta
  { x: -0.03, y: 0.12, rx: 0.035, ry: 0.03, hu: -900 }, // airway
  { x: 0, y: 0.33, rx: 0.125, ry: 0.1, hu: 420 }, // spine
  { x: 0, y: 0.33, rx: 0.1, ry: 0.078, hu: 230 },
  { x: 0, y: 0.46, rx: 0.06, ry: 0.055, hu: 480 },
  { x: 0, y: 0.45, rx: 0.036, ry: 0.032, hu: 25 },
  { x: 0, y: -0.5, rx: 0.1, ry: 0.028, hu: 400 }, // breastbone
  ...[-1, 1].flatMap((side) => [
    { x: side * 0.7, y: 0, rx: 0.024, ry: 0.1, hu: 450 }, // ribs
    { x: side * 0.57, y: 0.29, rx: 0.024, ry: 0.085, angle: side * -0.95, hu: 450 },
    { x: side * 0.56, y: -0.32, rx: 0.022, ry: 0.08, angle: side * 0.95, hu: 430 },
    { x: side * 0.24, y: 0.44, rx: 0.022, ry: 0.075, angle: side * -1.25, hu: 450 },
  ]),
];

/** Computes the densities of the slice in Hounsfield units, row by row. */
export function hounsfield(): Int16Array {
  const values = new Int16Array(SIZE * SIZE);
  const noise = generator(20261122);
  for (let i = 0; i < values.length; i++) {
    const x = ((i % SIZE) / SIZE) * 2 - 1;
    const y = (Math.floor(i / SIZE) / SIZE) * 2 - 1;
    const hu = density(x, y);
    values[i] = hu === AIR ? AIR : Math.round(hu + (noise() + noise() - 1) * 22);
  }
  return values;
}

function density(x: number, y: number): number {
  const shape = shapes.findLast((s) => contains(s, x, y));
  return shape?.hu ?? AIR;
}

function contains({ x, y, rx, ry, angle = 0 }: Shape, px: number, py: number): boolean {
  const [dx, dy] = [px - x, py - y];
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return ((dx * cos + dy * sin) / rx) ** 2 + ((dy * cos - dx * sin) / ry) ** 2 <= 1;
}

/** Deterministic pseudo-random numbers from 0 to 1 (a linear congruential generator, modulus 2^32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

const CT_IMAGE_STORAGE = '1.2.840.10008.5.1.4.1.1.2';
const UID = '2.25.3184290114820467722904318';
const INTERCEPT = -1024;

/** The slice as a DICOM file: 16 bit, unsigned as scanners write it, with rescale and window. */
export function ctSample(): File {
  const stored = Uint16Array.from(hounsfield(), (hu) => hu - INTERCEPT);
  const pixels = new Uint8Array(stored.length * 2);
  const view = new DataView(pixels.buffer);
  stored.forEach((value, i) => view.setUint16(i * 2, value, true));
  const bytes = writeDicom(CT_IMAGE_STORAGE, `${UID}3`, [
    ...about(),
    ...image(),
    [0x7fe00010, 'OW', pixels],
  ]);
  return new File([bytes], 'chest-ct-phantom.dcm', { type: 'application/dicom' });
}

function about(): Entry[] {
  return [
    [0x00080005, 'CS', 'ISO_IR 192'],
    [0x00080008, 'CS', 'ORIGINAL\\PRIMARY\\AXIAL'],
    [0x00080016, 'UI', CT_IMAGE_STORAGE],
    [0x00080018, 'UI', `${UID}3`],
    [0x00080020, 'DA', '20260214'],
    [0x00080030, 'TM', '093000'],
    [0x00080050, 'SH', ''],
    [0x00080060, 'CS', 'CT'],
    [0x00080070, 'LO', 'Coffer demo'],
    [0x00080090, 'PN', ''],
    [0x00081030, 'LO', 'Synthetic chest'],
    [0x00100010, 'PN', 'Lindqvist^Marta'],
    [0x00100020, 'LO', 'DEMO-0417'],
    [0x00100030, 'DA', '19680309'],
    [0x00100040, 'CS', 'F'],
    [0x0020000d, 'UI', `${UID}1`],
    [0x0020000e, 'UI', `${UID}2`],
    [0x00200010, 'SH', '1'],
    [0x00200011, 'IS', '1'],
    [0x00200012, 'IS', '1'],
    [0x00200013, 'IS', '1'],
  ];
}

function image(): Entry[] {
  return [
    [0x00180050, 'DS', '5'],
    [0x00180060, 'DS', '120'],
    [0x00200032, 'DS', '-192\\-192\\0'],
    [0x00200037, 'DS', '1\\0\\0\\0\\1\\0'],
    [0x00200052, 'UI', `${UID}4`],
    [0x00201040, 'LO', ''],
    [0x00280002, 'US', 1],
    [0x00280004, 'CS', 'MONOCHROME2'],
    [0x00280010, 'US', SIZE],
    [0x00280011, 'US', SIZE],
    [0x00280030, 'DS', '1.5\\1.5'],
    [0x00280100, 'US', 16],
    [0x00280101, 'US', 12],
    [0x00280102, 'US', 11],
    [0x00280103, 'US', 0],
    [0x00281050, 'DS', `${WINDOW.center}`],
    [0x00281051, 'DS', `${WINDOW.width}`],
    [0x00281052, 'DS', `${INTERCEPT}`],
    [0x00281053, 'DS', '1'],
  ];
}
