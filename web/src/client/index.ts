/**
 * A client of Coffer's HTTP API, for browsers, workers and Node: what internal/api/openapi.yaml describes, with the errors of the rest of
 * this package. Requests that are safe to repeat are retried after 429, 502, 503, 504 and failed connections, after the time that
 * `Retry-After` gives or else with growing, random pauses. A session is never created twice.
 *
 * @packageDocumentation
 */
export type {
  Entry,
  EntryHead,
  EntryInfo,
  EntryStream,
  Opened,
  SessionTimes,
  Stored,
} from './answers.js';
export type { Binary, Duration } from './arguments.js';
export type { CallOptions } from './http.js';
export type { ClientOptions } from './settings.js';
export {
  CofferClient,
  type BatchOperation,
  type BatchResult,
  type ChangeReason,
  type ConfirmOptions,
  type Event,
  type EventFilter,
  type EventHead,
  type GetOptions,
  type Health,
  type KeyName,
  type KeyRetirement,
  type Keyset,
  type MatchOptions,
  type NewSession,
  type Rotation,
  type Rotations,
  type Sealing,
  type Session,
  type SetOptions,
  type Shredding,
  type Unchanged,
} from './client.js';
