import { useCallback, useEffect, useMemo, useRef } from 'react';
import { drawDicom } from '../dicom/draw.js';
import { type DicomFile, readDicom } from '../dicom/file.js';
import type { Raster } from '../dicom/pixels.js';
import { syntaxOf } from '../dicom/syntax.js';
import { Facts } from './Facts.js';
import { ProblemNote } from './ProblemNote.js';
import { useLoaded } from './useLoaded.js';

/** A DICOM file: its image, patient and study. */
export function DicomView({ bytes }: { bytes: Uint8Array }) {
  const read = useLoaded(useCallback(async () => readDicom(bytes), [bytes]));
  if (read.problem) return <ProblemNote problem={read.problem} calm />;
  return read.value && <DicomPicture file={read.value} />;
}

function DicomPicture({ file }: { file: DicomFile }) {
  const drawn = useLoaded(useCallback(() => drawDicom(file), [file]));
  const rows = useMemo(() => factsOf(file), [file]);
  return (
    <div className="dicom">
      <div className="dicom-picture">
        {drawn.value && <RasterCanvas raster={drawn.value} label={labelOf(file)} />}
        {drawn.problem && <ProblemNote problem={drawn.problem} calm />}
      </div>
      <Facts rows={rows} />
    </div>
  );
}

function RasterCanvas({ raster, label }: { raster: Raster; label: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height, rgba } = raster;
  useEffect(
    () => canvas.current?.getContext('2d')?.putImageData(new ImageData(rgba, width, height), 0, 0),
    [rgba, width, height],
  );
  return <canvas ref={canvas} width={width} height={height} role="img" aria-label={label} />;
}

function labelOf({ modality, description, patientName }: DicomFile): string {
  return [`${modality || 'DICOM'} image`, description, patientName && `of ${patientName}`]
    .filter(Boolean)
    .join(', ');
}

function factsOf(file: DicomFile): [string, string][] {
  const { format } = file;
  const shown = format?.window
    ? `centre ${format.window.center}, width ${format.window.width}`
    : 'the whole range of values';
  return [
    ['Patient', file.patientName],
    ['Patient ID', file.patientId],
    ['Birth date', file.birthDate],
    ['Modality', file.modality],
    ['Description', file.description],
    ['Study date', file.studyDate],
    [
      'Image',
      format
        ? `${format.columns} × ${format.rows}, ${format.bitsStored} bit, ${format.photometric}`
        : '',
    ],
    ['Frames', file.frames > 1 ? `${file.frames}, the first is shown` : ''],
    ['Window', format?.photometric.startsWith('MONOCHROME') ? shown : ''],
    ['Transfer syntax', syntaxOf(file.transferSyntax).name],
  ];
}
