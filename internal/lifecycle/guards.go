package lifecycle

import (
	"context"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Prepare checks whether a key can be disabled or destroyed. It changes nothing. It returns ErrNoKey, ErrState,
// keyring.ErrInUse or keyring.ErrNoTenant, envelope.ErrKeyDestroyed if the tenant was shredded, or an error of a store.
func (k *Manager) Prepare(ctx context.Context, key Key, to envelope.State) (*Retirement, error) {
	d, err := k.Rotator.Keyring.Document(ctx, key.Tenant)
	if err != nil {
		return nil, err
	}
	if d.Shredded() {
		return nil, envelope.ErrKeyDestroyed
	}
	s, one := findKey(d, key)
	if one == nil {
		return nil, ErrNoKey
	}
	r := &Retirement{Key: key, To: to, From: one.State, Created: time.UnixMilli(one.CreatedAt), Document: d, manager: k}
	if r.Done() {
		return r, nil
	}
	if s.Primary() == key.ID {
		return nil, inUse("the key is the primary and seals: rotate it first with coffer rotate --execute")
	}
	if key.Use == format.UseCache { // one scan of the entries proves nothing while entries move or a failover may restore some
		return nil, inUse("rotations destroy former keys of the cache after two sweeps that found no entry under them: use coffer rotate --execute")
	}
	if err := checkTransition(one.State, to); err != nil {
		return nil, err
	}
	record, err := k.Rotator.Record(ctx, key.Tenant)
	if err == nil {
		err = checkRollback(record, key)
	}
	if err == nil {
		err = k.checkPropagation(record, s)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func findKey(d *envelope.Document, key Key) (*envelope.Keyset, *envelope.Key) {
	s := d.Keyset(key.Use, key.Class)
	if s == nil {
		return nil, nil
	}
	i := slices.IndexFunc(s.Keys, func(k envelope.Key) bool { return k.ID == key.ID })
	if i < 0 {
		return nil, nil
	}
	return s, &s.Keys[i]
}

// checkTransition returns an error if a key cannot change from one state to the other.
func checkTransition(from, to envelope.State) error {
	switch {
	case to == envelope.Disabled && from == envelope.Destroyed:
		return wrongState("the key is already destroyed")
	case to == envelope.Destroyed && from == envelope.Enabled:
		return wrongState("the key is still enabled: disable it first, and check that nothing fails")
	case to != envelope.Disabled && to != envelope.Destroyed:
		return wrongState("a key can only be disabled or destroyed on request")
	}
	return nil
}

// checkRollback returns an error if a running rotation can be rolled back to the key.
func checkRollback(record *rotation.Record, key Key) error {
	if record != nil && slices.ContainsFunc(record.Keysets, func(s rotation.Keyset) bool {
		return record.CanRollBack(&s) && s.Use == key.Use && s.Class == key.Class && s.FormerPrimary == rotation.ID(key.ID)
	}) {
		return inUse("a running rotation can be rolled back to the key; its state is %s: see coffer rotate --status", record.State)
	}
	return nil
}

// checkPropagation returns an error if a process may not know yet that the key is no longer the primary. A process that
// cannot reach the keystore seals under the key for as long as it keeps keys in memory. A former key that a clock far
// ahead dated does not count.
func (k *Manager) checkPropagation(record *rotation.Record, s *envelope.Keyset) error {
	since := rotation.AgeDueTime(s, 0, k.Rotator.Now())
	if record != nil && record.State == rotation.RolledBack {
		since = max(since, record.Ended)
	}
	until := time.UnixMilli(since).Add(k.Rotator.Keyring.TTL() + rotation.Margin)
	if k.Rotator.Now().Before(until) {
		return inUse("a server that does not know of the last rotation may seal under the key until %s, because of COFFER_KEY_CACHE_TTL: wait until then",
			until.UTC().Format(time.RFC3339))
	}
	return nil
}
