import { calls } from '../samples/code.js';
import { Tabs } from './Tabs.js';

/** The code for each place where Coffer is used. */
export function CodeCard() {
  return (
    <section className="card code-card" aria-labelledby="code-title">
      <h2 id="code-title">One call to seal, one to open</h2>
      <Tabs
        label="Languages"
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
        Every write states a class: it selects the key, bounds the time in the cache, and is
        authenticated. <a href="./v1/docs">The whole HTTP API</a>
      </p>
    </section>
  );
}
