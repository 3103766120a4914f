import { calls } from '../samples/code.js';
import { Tabs } from './Tabs.js';

/** What a developer writes, in each of the places where Coffer is used. */
export function CodeCard() {
  return (
    <section className="card code-card" aria-labelledby="code-title">
      <h2 id="code-title">One call to seal, one to open</h2>
      <Tabs
        label="Where it is called"
        tabs={calls.map(({ title, code }) => ({
          title,
          content: () => (
            <pre className="code">
              <code>{code}</code>
            </pre>
          ),
        }))}
      />
      <p className="hint">
        The class is said at every write: it chooses the key, bounds the time in the cache, and
        cannot be changed afterwards unnoticed. <a href="./v1/docs">The whole HTTP API</a>
      </p>
    </section>
  );
}
