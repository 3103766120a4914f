// Reads the events of `go test -json`.

/** Every secret in the Go tests contains this text. A passing test must not print it. */
const SECRET = 'pl4nted';
const OUTCOMES = { pass: 'passed', fail: 'failed', skip: 'skipped' };
/** Matches the first line of the reason for the crash of a test binary. */
const REASON =
  /^(?:panic: |fatal error: |SIG[A-Z]+: |signal: |WARNING: DATA RACE|exit status |\*\*\* Test killed).*/m;

export class GoTests {
  #results;
  #print;
  #packages = new Map();
  #builds = new Map();
  #failed = false;

  /** Counts tests in `results`. Calls `print` with the output of each failed package and one line for each other package. */
  constructor(results, print) {
    this.#results = results;
    this.#print = print;
  }

  /** Processes one line of the output. */
  line(text) {
    const event = parsed(text);
    if (!event) return this.#print(text);
    if (event.ImportPath)
      return void this.#builds.set(
        event.ImportPath,
        (this.#builds.get(event.ImportPath) ?? '') + (event.Output ?? ''),
      );
    const pkg = this.#package(event.Package);
    if (event.Action === 'output') this.#output(pkg, event);
    if (event.Action === 'run') pkg.running.add(event.Test);
    const outcome = OUTCOMES[event.Action];
    if (outcome && event.Test) this.#test(pkg, event, outcome);
    else if (outcome) this.#ended(pkg, event, outcome);
  }

  /** Processes the end of the command. A package without a result has failed, and so has a command that failed without a result. */
  end(status) {
    for (const pkg of this.#packages.values())
      if (!pkg.ended) this.#died(pkg, 'the package has no result');
    if (status !== 0 && !this.#failed)
      this.#fail(
        `go test ended with ${status} and named no failure`,
        [...this.#builds.values()].join(''),
      );
  }

  #fail(name, detail) {
    this.#failed = true;
    this.#results.count('Go', 'failed', name, detail);
  }

  #package(name) {
    if (!this.#packages.has(name))
      this.#packages.set(name, {
        name,
        output: '',
        running: new Set(),
        printed: new Set(),
        failed: false,
        ended: false,
      });
    return this.#packages.get(name);
  }

  #output(pkg, { Output, Test }) {
    pkg.output += Output;
    if (Output.includes(SECRET)) pkg.printed.add(Test);
  }

  #test(pkg, { Test }, outcome) {
    pkg.running.delete(Test);
    const name = `${pkg.name} ${Test}`;
    const secret = outcome === 'passed' && pkg.printed.has(Test);
    if (secret) this.#fail(`${name}: its output has a planted secret`);
    else if (outcome === 'failed') this.#fail(name);
    else this.#results.count('Go', outcome, name);
    pkg.failed ||= outcome === 'failed';
  }

  #ended(pkg, { Elapsed = 0, FailedBuild }, outcome) {
    pkg.ended = true;
    if (outcome !== 'failed') {
      if (pkg.printed.has(undefined)) this.#fail(`${pkg.name}: its output has a planted secret`);
      return this.#print(
        `${outcome === 'passed' ? 'ok  ' : '-   '} ${pkg.name} ${Elapsed.toFixed(1)}s`,
      );
    }
    pkg.output += this.#builds.get(FailedBuild) ?? '';
    this.#print(pkg.output);
    if (FailedBuild) this.#died(pkg, 'the package does not build');
    else if (pkg.running.size > 0 || !pkg.failed)
      this.#died(
        pkg,
        REASON.exec(pkg.output)?.[0] ?? 'the package ended without the failure of a test',
      );
  }

  #died(pkg, reason) {
    pkg.ended = true;
    const running = [...pkg.running].map((test) => ` ${test}`).join('');
    this.#fail(`${pkg.name}: ${reason}${running && `; without a result:${running}`}`, pkg.output);
  }
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
