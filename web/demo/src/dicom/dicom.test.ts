/** Reads and draws DICOM files that the sample writer makes. */
import { describe, expect, test } from 'vitest';
import { SIZE, WINDOW, ctSample, hounsfield } from '../samples/ct.js';
import { drawDicom } from './draw.js';
import { readDicom } from './file.js';
import { brightness, windowOf } from './pixels.js';
import { dateValue, decodeText, encodingOf, personName } from './text.js';
import { BIG_ENDIAN, type Entry, writeDicom } from './write.js';

const JPEG_2000 = '1.2.840.10008.1.2.4.90';

interface Picture {
  rows?: number;
  columns?: number;
  bits?: number;
  stored?: number;
  high?: number;
  signed?: boolean;
  photometric?: string;
  samples?: number;
  planar?: boolean;
  vr?: string;
  syntax?: string;
  more?: readonly Entry[];
}

/** A DICOM file of 2 x 2 pixels by default. */
function file(pixels: Uint8Array | null, p: Picture = {}): Uint8Array {
  const {
    rows = 2,
    columns = 2,
    bits = 8,
    stored = bits,
    high = stored - 1,
    samples = 1,
    syntax,
  } = p;
  const entries: Entry[] = [
    [0x00280002, 'US', samples],
    [0x00280004, 'CS', p.photometric ?? 'MONOCHROME2'],
    [0x00280006, 'US', p.planar ? 1 : 0],
    [0x00280010, 'US', rows],
    [0x00280011, 'US', columns],
    [0x00280100, 'US', bits],
    [0x00280101, 'US', stored],
    [0x00280102, 'US', high],
    [0x00280103, 'US', p.signed ? 1 : 0],
    ...(p.more ?? []),
    ...(pixels ? [[0x7fe00010, p.vr ?? 'OW', pixels] as const] : []),
  ];
  return writeDicom('1.2.840.10008.5.1.4.1.1.7', '2.25.1', entries, syntax);
}

const draw = async (pixels: Uint8Array | null, picture?: Picture) =>
  drawDicom(readDicom(file(pixels, picture)));

/** The red component of each pixel. */
const greys = async (...args: Parameters<typeof draw>) =>
  (await draw(...args)).rgba.filter((_, i) => i % 4 === 0);

const words = (values: number[], littleEndian = true) => {
  const view = new DataView(new ArrayBuffer(values.length * 2));
  values.forEach((value, i) => view.setUint16(i * 2, value & 0xffff, littleEndian));
  return new Uint8Array(view.buffer);
};

const window = (center: string, width: string): Entry[] => [
  [0x00281050, 'DS', center],
  [0x00281051, 'DS', width],
];

test('the CT sample is DICOM that says whom it is of, and is drawn through its window', async () => {
  const read = readDicom(new Uint8Array(await ctSample().arrayBuffer()));
  expect(read).toMatchObject({
    patientName: 'Marta Lindqvist',
    patientId: 'DEMO-0417',
    birthDate: '1968-03-09',
    modality: 'CT',
    frames: 1,
  });
  const { width, height, rgba } = await drawDicom(read);
  expect([width, height]).toEqual([SIZE, SIZE]);
  const expected = new Uint8ClampedArray(
    [...hounsfield()].flatMap((hu) => [...Array<number>(3).fill(brightness(hu, WINDOW)), 255]),
  );
  expect(rgba).toEqual(expected);
  expect(new Set(rgba)).toContain(0);
  expect(new Set(expected.filter((_, i) => i % 4 === 0)).size).toBeGreaterThan(50);
});

describe('grey values', () => {
  const pixels = Uint8Array.of(0, 100, 200, 255);

  test('without a window, the whole range is shown', async () => {
    expect([...(await greys(words([100, 200, 300, 400]), { bits: 16 }))]).toEqual([
      0, 85, 170, 255,
    ]);
  });

  test('the linear function has the black and white points of PS3.3 C.11.2.1.2.1', () => {
    const w = { center: 2048, width: 4096 };
    expect([brightness(0, w), brightness(4095, w), brightness(2047.5, w)]).toEqual([0, 255, 127.5]);
    expect([
      brightness(4, { center: 5, width: 1 }),
      brightness(5, { center: 5, width: 1 }),
    ]).toEqual([0, 255]);
  });

  test('the first window of several is used; one that is no window is not', async () => {
    expect([...(await greys(pixels, { more: window('128\\5', '256\\9') }))]).toEqual([
      0, 100, 200, 255,
    ]);
    expect([
      ...(await greys(words([100, 200, 300, 400]), { bits: 16, more: window('40', '0') })),
    ]).toEqual([0, 85, 170, 255]);
  });

  test('MONOCHROME1 shows low values bright', async () => {
    expect([
      ...(await greys(pixels, { photometric: 'MONOCHROME1', more: window('128', '256') })),
    ]).toEqual([255, 155, 55, 0]);
  });

  test('rescale comes before the window', async () => {
    const more: Entry[] = [
      ...window('0', '256'),
      [0x00281052, 'DS', '-128'],
      [0x00281053, 'DS', '1'],
    ];
    expect([...(await greys(pixels, { more }))]).toEqual([0, 100, 200, 255]);
    const doubled: Entry[] = [
      ...window('256', '512'),
      [0x00281052, 'DS', '0'],
      [0x00281053, 'DS', '2'],
    ];
    expect([...(await greys(Uint8Array.of(0, 64, 128, 255), { more: doubled }))]).toEqual([
      0, 64, 128, 255,
    ]);
  });

  test('signed values keep their sign, with fewer bits stored than allocated', async () => {
    const options = { bits: 16, stored: 12, signed: true, more: window('0', '4096') };
    expect([...(await greys(words([0x800, 0, 0x7ff, 0xfff]), options))]).toEqual([
      0, 128, 255, 127,
    ]);
    expect([
      ...(await greys(Uint8Array.of(0x80, 0, 0x7f, 0xff), {
        signed: true,
        more: window('0', '256'),
      })),
    ]).toEqual([0, 128, 255, 127]);
  });

  test('bits above and below the stored ones are no part of a value', async () => {
    const options = { bits: 16, stored: 8, high: 11, more: window('128', '256') };
    expect([...(await greys(words([0xf00f, 0xf64f, 0x0c80, 0x0fff]), options))]).toEqual([
      0, 100, 200, 255,
    ]);
  });

  test('32 bits are read whole', async () => {
    const values = new Uint8Array(new Uint32Array([0, 0xffffffff, 0x80000000, 0]).buffer);
    expect([...(await greys(values, { bits: 32 }))]).toEqual([0, 255, 128, 0]);
  });

  test('padding is no part of the range', () => {
    const read = readDicom(
      file(words([0, 0, 0, 0]), { bits: 16, signed: true, more: [[0x00280120, 'SS', -2000]] }),
    );
    expect(windowOf([-2000, 10, 20, 30], read.format!)).toEqual({ center: 20.5, width: 21 });
  });

  test('an image of one value is drawn', async () => {
    expect(await greys(Uint8Array.of(7, 7, 7, 7))).toHaveLength(4);
  });
});

describe('big endian', () => {
  test('words', async () => {
    const values = [100, 200, 300, 400];
    const big = await greys(words(values, false), { bits: 16, syntax: BIG_ENDIAN });
    expect(big).toEqual(await greys(words(values), { bits: 16 }));
  });

  test('bytes written as words come two the other way round; bytes written as bytes do not', async () => {
    const more = window('128', '256');
    expect([
      ...(await greys(Uint8Array.of(100, 0, 255, 200), { syntax: BIG_ENDIAN, more })),
    ]).toEqual([0, 100, 200, 255]);
    expect([
      ...(await greys(Uint8Array.of(0, 100, 200, 255), { vr: 'OB', syntax: BIG_ENDIAN, more })),
    ]).toEqual([0, 100, 200, 255]);
  });
});

describe('colours', () => {
  const shape = { rows: 1, columns: 2, samples: 3, photometric: 'RGB', vr: 'OB' };

  test('RGB, by pixel and by plane', async () => {
    const expected = [10, 20, 30, 255, 40, 50, 60, 255];
    expect([...(await draw(Uint8Array.of(10, 20, 30, 40, 50, 60), shape)).rgba]).toEqual(expected);
    expect([
      ...(await draw(Uint8Array.of(10, 40, 20, 50, 30, 60), { ...shape, planar: true })).rgba,
    ]).toEqual(expected);
  });

  test('YBR_FULL', async () => {
    const { rgba } = await draw(Uint8Array.of(76, 85, 255, 128, 128, 128), {
      ...shape,
      photometric: 'YBR_FULL',
    });
    expect([...rgba]).toEqual([254, 0, 0, 255, 128, 128, 128, 255]);
  });
});

describe('what is not drawn', () => {
  test.each([
    [
      'compressed pixels',
      () => draw(Uint8Array.of(1, 2, 3, 4), { syntax: JPEG_2000 }),
      'not_drawn',
      /JPEG 2000/,
    ],
    [
      'an unknown transfer syntax',
      () => draw(Uint8Array.of(1, 2, 3, 4), { syntax: '1.2.3' }),
      'not_drawn',
      /1\.2\.3/,
    ],
    [
      'a palette',
      () => draw(Uint8Array.of(1, 2, 3, 4), { photometric: 'PALETTE COLOR' }),
      'not_drawn',
      /PALETTE COLOR/,
    ],
    ['one bit a sample', () => draw(Uint8Array.of(1, 2), { bits: 1 }), 'not_drawn', /1 bit/],
    ['pixels cut off', () => draw(Uint8Array.of(1, 2), {}), 'not_drawn', /cut off/],
    ['no size', () => draw(Uint8Array.of(1, 2), { rows: 0 }), 'not_drawn', /cut off/],
    ['no image', () => draw(null), 'no_image', /no image/],
  ])('%s', async (_, drawing, code, message) => {
    await expect(drawing()).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
  });

  test('what only begins like DICOM is malformed', () => {
    const damaged = file(Uint8Array.of(1, 2, 3, 4)).slice(0, 200);
    expect(() => readDicom(damaged)).toThrowError(
      expect.objectContaining({ code: 'malformed' }) as Error,
    );
    expect(() => readDicom(new Uint8Array(200))).toThrowError(
      expect.objectContaining({ code: 'malformed' }) as Error,
    );
  });
});

describe('text', () => {
  test.each([
    ['ISO_IR 192', [0xc3, 0xa9], 'é'],
    ['ISO_IR 100', [0xe9], 'é'],
    ['', [0x41, 0x20], 'A'],
    ['\\ISO 2022 IR 149', [0x1b, 0x24, 0x29, 0x43, 0xb1, 0xe8], '김'],
    ['ISO 2022 IR 13\\ISO 2022 IR 87', [0x1b, 0x24, 0x42, 0x3b, 0x33, 0x1b, 0x28, 0x42], '山'],
    ['ISO_IR 144', [0xb0], 'А'],
  ])('%s', (sets, bytes, text) => {
    expect(decodeText(Uint8Array.from(bytes), encodingOf(sets))).toBe(text);
  });

  test('names and dates', () => {
    expect(personName('Lindqvist^Marta^^Dr.=x')).toBe('Dr. Marta Lindqvist');
    expect(dateValue('20260214')).toBe('2026-02-14');
    expect(dateValue('1997.04.24')).toBe('1997.04.24');
  });
});
