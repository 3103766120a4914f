interface Props {
  label: string;
  /** The last value as text. */
  value: string;
  points: readonly number[];
}

const WIDTH = 240;
const HEIGHT = 56;
const FEWEST = 16; // the width fits this many values, so a new chart grows before it scrolls

/** A figure with a line chart of the last minutes. */
export function Spark({ label, value, points }: Props) {
  const top = Math.max(...points, 1e-9);
  const x = (i: number) =>
    WIDTH - ((points.length - 1 - i) / (Math.max(FEWEST, points.length) - 1)) * WIDTH;
  const y = (v: number) => HEIGHT - 3 - (v / top) * (HEIGHT - 8);
  const line = points.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(' ');
  return (
    <figure className="spark">
      <figcaption>
        <span className="hint">{label}</span>
        <span className="spark-value">{value}</span>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        aria-hidden="true"
        focusable="false"
      >
        <path d={`M0 ${HEIGHT - 3}H${WIDTH}`} />
        {points.length > 1 && (
          <>
            <polygon points={`${x(0).toFixed(1)},${HEIGHT} ${line} ${WIDTH},${HEIGHT}`} />
            <polyline points={line} />
          </>
        )}
      </svg>
    </figure>
  );
}
