import type { Problem } from '../../problem.js';
import { ProblemNote } from '../ProblemNote.js';

/** Explains why a panel is empty or out of date: the token lacks a scope, or the last call failed. */
export function PanelNote({ problem, scope }: { problem: Problem | null; scope: string }) {
  if (problem?.code === 'forbidden') {
    return (
      <p className="hint scope-missing" role="status">
        This needs a token with the scope <code>{scope}</code>.
      </p>
    );
  }
  return problem && <ProblemNote problem={problem} />;
}
