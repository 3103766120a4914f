/**
 * A client of Coffer's HTTP API for browsers, workers and Node. The API is described by internal/api/openapi.yaml;
 * errors are those of the main entry point.
 *
 * @packageDocumentation
 */
export type { Binary, Duration } from './arguments.js';
export { CofferClient } from './client.js';
export type { CallOptions } from './http.js';
export type {
  Entry,
  EntryHead,
  EntryInfo,
  EntryStream,
  Opened,
  SessionTimes,
  Stored,
} from './responses.js';
export type { ClientOptions } from './settings.js';
export type {
  BatchOperation,
  BatchResult,
  ChangeReason,
  ConfirmOptions,
  Event,
  EventFilter,
  EventHead,
  EventOptions,
  GetOptions,
  Health,
  KeyName,
  KeyRetirement,
  Keyset,
  KeysetOptions,
  ListOptions,
  MatchOptions,
  NewSession,
  OpenOptions,
  RollbackOptions,
  RotateOptions,
  Rotation,
  Rotations,
  Sealing,
  Session,
  SessionOptions,
  SetOptions,
  Shredding,
  Unchanged,
} from './types.js';
