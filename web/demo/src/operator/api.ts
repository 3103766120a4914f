/** The data of the operator's page, in the types of the client with times as dates. */
import type { DataClassification } from '@coffer-storage/coffer';
import type {
  Event,
  EventFilter,
  Keyset as Told,
  Rotation as Going,
  Rotations as All,
} from '@coffer-storage/coffer/client';

export interface Keyset extends Omit<Told, 'rotatedAt' | 'nextRotationAt' | 'class'> {
  class: DataClassification;
  rotatedAt: Date;
  nextRotationAt: Date | null;
}

export interface Rotation extends Omit<Going, 'begunAt' | 'nextAt'> {
  begunAt: Date;
  nextAt: Date | null;
}

export type AuditEvent = Event;

/** The filter of events; empty means all. */
export type AuditFilter = EventFilter;

export function keysetOf({ rotatedAt, nextRotationAt, ...rest }: Told): Keyset {
  return {
    ...rest,
    rotatedAt: new Date(rotatedAt),
    nextRotationAt: nextRotationAt ? new Date(nextRotationAt) : null,
  };
}

export function rotationOf({ begunAt, nextAt, ...rest }: Going): Rotation {
  return { ...rest, begunAt: new Date(begunAt), nextAt: nextAt ? new Date(nextAt) : null };
}

export interface Rotations extends Omit<All, 'rotations'> {
  rotations: Rotation[];
}

export function rotationsOf({ rotations, ...rest }: All): Rotations {
  return { ...rest, rotations: rotations.map(rotationOf) };
}
