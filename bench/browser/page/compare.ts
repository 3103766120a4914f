/** Measures two implementations of the same operation in one page, in short alternating turns. */

/** The result of one comparison. */
export interface Comparison {
  /** The median, over the rounds, of our time divided by the hand-written time of the same round. */
  ratio: number;
  /** Median milliseconds per operation. */
  ours: number;
  byHand: number;
}

export type Operation = () => Promise<unknown>;

/** How long a turn should last: long against the clock's resolution, short against a scheduler's time slice. */
const TURN_MS = 2;
/** How long a comparison lasts, unless the minimum number of rounds takes longer. */
const COMPARISON_MS = 2500;
const FEWEST_ROUNDS = 15;

/**
 * Compares in rounds of one turn each, in random order. A ratio is taken within a round, so that a machine that slows down slows
 * both down; the median leaves out the rounds in which only one was hit.
 */
export async function compare(ours: Operation, byHand: Operation): Promise<Comparison> {
  const repeats = await warmUp(ours, byHand);
  const times: [ours: number, byHand: number][] = [];
  for (
    const end = performance.now() + COMPARISON_MS;
    times.length < FEWEST_ROUNDS || performance.now() < end;
  ) {
    const oursFirst = Math.random() < 0.5;
    const first = await turn(oursFirst ? ours : byHand, repeats);
    const second = await turn(oursFirst ? byHand : ours, repeats);
    times.push(oursFirst ? [first, second] : [second, first]);
  }
  return {
    ratio: median(times.map(([a, b]) => a / b)),
    ours: median(times.map(([a]) => a)) / repeats,
    byHand: median(times.map(([, b]) => b)) / repeats,
  };
}

/** Runs both until the engine has compiled them, and finds how many operations fill a turn. */
async function warmUp(ours: Operation, byHand: Operation): Promise<number> {
  for (let repeats = 1; ; repeats *= 2) {
    await turn(ours, repeats);
    const took = await turn(byHand, repeats);
    if (took >= 20 * TURN_MS) return Math.max(1, Math.round((repeats * TURN_MS) / took));
  }
}

async function turn(f: Operation, repeats: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) await f();
  return performance.now() - start;
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2
    ? (sorted[middle] ?? NaN)
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}
