import { CofferError } from '@coffer-storage/coffer';
import { DemoError } from './demo-error.js';

/** An error as a visitor reads it. */
export interface Problem {
  code: string;
  sentence: string;
  advice?: string;
}

/** Sentences that say it for this page; the others are Coffer's own. */
const sentences: Record<string, string> = {
  wrong_secret: 'This password does not open the vault.',
  unauthorized: 'The server does not accept this token.',
  unreachable: 'The server does not answer.',
  precondition_failed: 'The entry is not the one that you saw.',
};

/** What a visitor can do about it, where the sentence itself does not say so. */
const advice: Record<string, string> = {
  wrong_secret:
    'Nothing was lost and nothing was opened. Check capital letters and the keyboard layout, then try again.',
  quota_exceeded:
    'Delete a record to make room, or free space for this site in the browser’s settings.',
  database_blocked: 'Close other tabs with this page, then try again.',
  authentication_failed:
    'Somebody or something changed the bytes. Coffer shows nothing of a record that it cannot prove.',
  unauthorized:
    'The server prints a token at its first start (“token: …”); “coffer token create” makes another.',
  not_found: 'It was never stored there, or its time to live has passed.',
  forbidden:
    'The cache takes a token of a tenant with scopes for it: “coffer token create --scopes cache:read,cache:write” makes one. An operator’s opens no data.',
  precondition_failed:
    'Somebody changed or removed the entry meanwhile. What is shown was read anew; nothing of theirs was undone.',
  rate_limited: 'The server asks to wait a moment. Then try again.',
  unreachable: 'Is “coffer serve” still running?',
};

/** Turns whatever was thrown into a code, a sentence and advice. */
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
