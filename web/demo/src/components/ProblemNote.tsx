import type { Problem } from '../problem.js';
import { Icon } from './Icon.js';

/** An error: its sentence, its advice and its stable code. `calm` is for problems that the visitor did not cause. */
export function ProblemNote({ problem, calm = false }: { problem: Problem; calm?: boolean }) {
  return (
    <div className={calm ? 'problem calm' : 'problem'} role={calm ? 'status' : 'alert'}>
      <Icon name="alert" />
      <div>
        <p className="problem-sentence">{problem.sentence}</p>
        {problem.advice && <p>{problem.advice}</p>}
        <p className="problem-code">
          Code <code>{problem.code}</code>
        </p>
      </div>
    </div>
  );
}
