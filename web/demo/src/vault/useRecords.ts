import type { DataClassification, EncryptedStorage } from '@coffer-storage/coffer';
import { useCallback, useEffect, useState } from 'react';
import type { Content } from '../content/identify.js';
import { type Problem, problemOf } from '../problem.js';
import { type Item, addRecord, isClosed, listRecords, removeRecord } from './records.js';

/** The records of the vault as React state. */
export interface Records {
  /** `null` while the first list loads. */
  items: Item[] | null;
  problem: Problem | null;
  /** Resolves to the id of the new record; rejects if it was not stored. */
  add(content: Content, classification: DataClassification): Promise<string>;
  remove(id: string): Promise<void>;
}

export function useRecords(storage: EncryptedStorage): Records {
  const [items, setItems] = useState<Item[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);

  const reload = useCallback(async () => {
    try {
      setItems(await listRecords(storage));
      setProblem(null);
    } catch (error) {
      if (!isClosed(error)) setProblem(problemOf(error));
    }
  }, [storage]);

  useEffect(() => void reload(), [reload]);

  const add = useCallback(
    async (content: Content, classification: DataClassification) => {
      const id = await addRecord(storage, content, classification);
      await reload();
      return id;
    },
    [storage, reload],
  );

  const remove = useCallback(
    async (id: string) => {
      await removeRecord(storage, id);
      await reload();
    },
    [storage, reload],
  );

  return { items, problem, add, remove };
}
