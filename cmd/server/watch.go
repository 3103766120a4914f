package main

import (
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/rotation"
)

// watchRotations has the metrics tell what a rotator saw.
func watchRotations(m *metrics.Metrics, r *rotation.Rotator) {
	names := make([]string, len(rotation.States))
	for i, state := range rotation.States {
		names[i] = string(state)
	}
	m.WatchRotations(names, []string{"kept", "reencrypted", "changed", "failed", "foreign"}, func() metrics.RotationStats {
		seen := r.Stats()
		return rotationMetrics(&seen)
	})
}

func rotationMetrics(seen *rotation.Stats) metrics.RotationStats {
	n := seen.Entries
	now := metrics.RotationStats{
		EntriesLeft: seen.EntriesLeft, Sweeping: seen.Sweeping, Checked: seen.Checked, OldestPrimary: seen.OldestPrimary, Overdue: seen.Overdue, SpareRotations: seen.SpareRotations, Errors: seen.Errors,
		Incomplete: seen.Incomplete, CacheNotShared: seen.CacheNotShared,
		Entries: map[string]int{
			"kept":        n.Scanned - n.Reencrypted - n.Changed - n.Failed - n.Foreign,
			"reencrypted": n.Reencrypted, "changed": n.Changed, "failed": n.Failed, "foreign": n.Foreign,
		},
	}
	if seen.Rotations != nil {
		now.States = map[string]int{}
		for state, tenants := range seen.Rotations {
			now.States[string(state)] = tenants
		}
	}
	return now
}
