import { CofferError } from '@coffer-storage/coffer';
import { DemoError } from './demo-error.js';

/** An error for visitors. */
export interface Problem {
  code: string;
  sentence: string;
  advice?: string;
}

/** Sentences for this page; for other codes, the error's own message is shown. */
const sentences: Record<string, string> = {
  wrong_secret: 'This password does not open the vault.',
  unauthorized: 'The server does not accept this token.',
  unreachable: 'The server does not answer.',
  precondition_failed: 'The entry is not the one that you saw.',
};

/** Advice for visitors. */
const advice: Record<string, string> = {
  wrong_secret:
    'Nothing was lost and nothing was opened. Check capital letters and the keyboard layout, then try again.',
  quota_exceeded: 'Delete a record, or free space for this site in the browser’s settings.',
  database_blocked: 'Close other tabs with this page, then try again.',
  authentication_failed:
    'The bytes were changed. Coffer shows no part of a record that is not authentic.',
  unauthorized:
    'The server prints a token at its first start (“token: …”); “coffer token create” makes another.',
  not_found: 'It was never stored there, or it has expired.',
  forbidden:
    'The cache needs a token of a tenant with scopes for it: “coffer token create --scopes cache:read,cache:write” makes one. The token of an operator opens no data.',
  precondition_failed:
    'It was changed or removed in the meantime. The page has read it again, and your action changed nothing.',
  rate_limited: 'Wait a moment, then try again.',
  unreachable: 'Is “coffer serve” still running?',
};

/** Converts a thrown value to a code, a sentence and advice. */
export function problemOf(error: unknown): Problem {
  const known = error instanceof CofferError || error instanceof DemoError;
  const code = known ? error.code : 'internal';
  const message =
    error instanceof Error && error.message
      ? error.message
      : 'something failed that should not have';
  const problem: Problem = { code, sentence: sentences[code] ?? asSentence(message) };
  return advice[code] ? { ...problem, advice: advice[code] } : problem;
}

function asSentence(text: string): string {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
}
