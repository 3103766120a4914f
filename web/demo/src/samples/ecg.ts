/** A synthetic ECG strip, drawn on a canvas and saved as PNG. */

const [WIDTH, HEIGHT, GRID] = [960, 320, 16];

/** The waves of a beat as Gaussians: position in the beat, height in millivolts, width. */
const waves = [
  [0.18, 0.14, 0.025],
  [0.29, -0.12, 0.008],
  [0.315, 1.1, 0.011],
  [0.34, -0.26, 0.01],
  [0.55, 0.28, 0.045],
] as const;

/** Returns the voltage in millivolts at a time in beats. */
export function voltage(beats: number): number {
  const phase = beats - Math.floor(beats);
  return waves.reduce(
    (sum, [at, height, width]) => sum + height * Math.exp(-(((phase - at) / width) ** 2) / 2),
    0,
  );
}

export async function ecgSample(): Promise<File> {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  const context = canvas.getContext('2d');
  if (context) drawStrip(context);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
  return new File(blob ? [blob] : [], 'ecg-lead-ii.png', { type: 'image/png' });
}

function drawStrip(c: CanvasRenderingContext2D): void {
  c.fillStyle = '#fff8f5';
  c.fillRect(0, 0, WIDTH, HEIGHT);
  for (let i = 0; i <= WIDTH; i += GRID) {
    c.strokeStyle = (i / GRID) % 5 === 0 ? '#eeb7a8' : '#f8dfd7';
    c.strokeRect(i, -1, 0, HEIGHT + 2);
    if (i <= HEIGHT) c.strokeRect(-1, i, WIDTH + 2, 0);
  }
  c.strokeStyle = '#1c2b33';
  c.lineWidth = 2;
  c.lineJoin = 'round';
  c.beginPath();
  for (let x = 0; x <= WIDTH; x++) c.lineTo(x, HEIGHT * 0.66 - voltage((x / WIDTH) * 4.6) * 150);
  c.stroke();
  c.fillStyle = '#1c2b33';
  c.font = '600 18px system-ui, sans-serif';
  c.fillText('II   25 mm/s   10 mm/mV   synthetic', 20, 32);
}
