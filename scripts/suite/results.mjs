// Counts tests by the environment in which they ran, and lists the failures.

/** The number of output lines that are shown with a failure of a whole package or program. */
const LINES = 30;

export class Results {
  #counts;
  #failures = [];

  /** @param places the environments, each of which must run a test */
  constructor(places) {
    this.#counts = new Map(places.map((place) => [place, { passed: 0, failed: 0, skipped: 0 }]));
  }

  get failures() {
    return this.#failures;
  }

  /** Counts one test. The outcome is passed, failed or skipped; the detail of a failure is printed with its name. */
  count(place, outcome, name, detail = '') {
    this.#counts.get(place)[outcome]++;
    if (outcome === 'failed') this.#failures.push(`${place}: ${name}${indented(detail)}`);
  }

  /** Returns the lines of the summary, the total last. An environment that ran no test counts as a failure. */
  summary() {
    const total = { passed: 0, failed: 0, skipped: 0 };
    for (const [place, c] of this.#counts)
      if (c.passed + c.failed === 0) this.count(place, 'failed', 'ran no test');
    const lines = ['Tests by where they ran:'];
    for (const [place, c] of this.#counts) {
      lines.push(`  ${place.padEnd(9)} ${show(c)}`);
      for (const outcome in total) total[outcome] += c[outcome];
    }
    return [...lines, ...this.#failures.map((failure) => `FAILED ${failure}`), show(total)];
  }
}

const show = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;

function indented(text) {
  const lines = text.trimEnd().split('\n').slice(-LINES);
  return text ? `\n${lines.map((line) => `    ${line}`).join('\n')}` : '';
}
