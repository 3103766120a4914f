// The figures that are measured and the values that they must reach. A size without a budget is only reported.

const time = (budget) => ({ budget, higher_is_better: false, unit: 'x hand-written time' });
const rate = (budget) => ({ budget, higher_is_better: true, unit: 'x hand-written rate' });
const size = (budget) => ({ budget, higher_is_better: false, unit: 'KB brotli' });
const raw = (budget) => ({ budget, higher_is_better: true, unit: 'x raw rate' });
/** By the names that bench/browser reports. */
export const browser = {
  'seal+open 100 B': time(null),
  'seal+open 1 KiB': time(1.15),
  'seal+open 64 KiB': time(1.05),
  'seal+open 1 MiB': time(1.05),
  'seal+open 16 MiB': time(1.05),
  'encryptBinary+decrypt 100 B': time(null),
  'encryptBinary+decrypt 1 KiB': time(null),
  'encryptBinary+decrypt 64 KiB': time(null),
  'encryptBinary+decrypt 1 MiB': time(1.3),
  'encryptBinary+decrypt 16 MiB': time(1.3),
  'put 100 B': time(1.1),
  'get 100 B': time(1.1),
  'put 1 KiB': time(1.1),
  'get 1 KiB': time(1.1),
  'put 64 KiB': time(1.1),
  'get 64 KiB': time(1.1),
  'put 1 MiB': time(1.1),
  'get 1 MiB': time(1.1),
  'put+get 16 MiB bytes': rate(0.95),
  'put+get 16 MiB blob': rate(0.95),
  'put 1,000 at once': rate(2),
  'get 1,000 at once': rate(2),
  'get 1,000 scattered at once': rate(null),
  'put a batch of 1,000': time(null),
  'get a batch of 1,000': time(null),
  'entries of 1,000': time(null),
  'core ready': { ...time(1.3), unit: 'x the time of a Go hello' },
};

const calm = (budget) => ({
  ...raw(budget),
  unit: 'x the 99th percentile without the attack, inverse',
});

/** By the names that bench/server and bench/faults give. */
export const server = {
  'Seal/100B': raw(null),
  'Seal/1KiB': raw(0.75),
  'Seal/64KiB': raw(0.9),
  'Seal/1MiB': raw(0.9),
  'Open/100B': raw(null),
  'Open/1KiB': raw(0.75),
  'Open/64KiB': raw(0.9),
  'Open/1MiB': raw(0.9),
  'Keys/Seal': raw(0.95),
  'Keys/Open': raw(0.95),
  'Rewrap/Local': raw(0.7),
  'Rewrap/KMS5ms': raw(0.6),
  Backup: raw(null),
  Drill: raw(null),
  Restore: raw(0.8),
  'Rotation/Reencrypt': raw(0.8),
  'Rotation/ReencryptEmbedded': raw(0.5),
  'Rotation/Load': { ...raw(0.5), unit: 'x the 99th percentile without a rotation, inverse' },
  'Rotation/LoadEmbedded': {
    ...raw(0.5),
    unit: 'x the 99th percentile without a rotation, inverse',
  },
  'Rotation/LoadCluster': {
    ...raw(0.5),
    unit: 'x the 99th percentile without a rotation, inverse',
  },
  'Rotation/LoadFull': { ...raw(null), unit: 'x the 99th percentile without a rotation, inverse' },
  'Audit/Record': raw(null),
  'Audit/Record64': raw(null),
  'Cache/OneByOne': raw(0.9),
  'Cache/Goroutines': raw(0.85),
  'Cache/Pipelines': raw(0.6),
  'Batch/Set/Redis': { ...raw(2), unit: 'x the rate with a call of the store each' },
  'Batch/Get/Redis': { ...raw(2), unit: 'x the rate with a call of the store each' },
  'Batch/Set/Embedded': { ...raw(null), unit: 'x the rate with a call of the store each' },
  'Batch/Get/Embedded': { ...raw(null), unit: 'x the rate with a call of the store each' },
  'HTTP/1KiB': raw(0.8),
  'HTTP/64KiB': raw(0.8),
  'HTTP/Bare1KiB': raw(0.8),
  'HTTP/Bare64KiB': raw(0.9),
  'Attack/flood': calm(0.5),
  'Attack/huge-lists': calm(0.5),
  'Attack/quota': calm(0.5),
  'Attack/refusals': calm(0.5),
  'Attack/slow-bodies': calm(0.5),
  'Attack/wrong-tokens': calm(0.5),
};

/** Of one Seal or Open, whatever the size. */
export const allocations = { budget: 1, higher_is_better: false, unit: 'allocations' };

export const sizes = { 'core module': size(470), 'TypeScript face': size(12) };
