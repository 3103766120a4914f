import type { Problem } from '../../problem.js';
import { ProblemNote } from '../ProblemNote.js';

/** Why a panel has nothing, or nothing new, to show: the token lacks a scope, or the last call failed. */
export function PanelNote({ problem, scope }: { problem: Problem | null; scope: string }) {
  if (problem?.code === 'forbidden') {
    return (
      <p className="hint scope-missing" role="status">
        This takes a token with the scope <code>{scope}</code>.
      </p>
    );
  }
  return problem && <ProblemNote problem={problem} />;
}
