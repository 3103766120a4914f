package lifecycle

import (
	"context"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Plan looks whether a key can be disabled or destroyed. It returns ErrNoKey, ErrState, keyring.ErrInUse and keyring.ErrNoTenant,
// envelope.ErrKeyDestroyed for a tenant that was shredded, and the errors of the stores.
func (k *Manager) Prepare(ctx context.Context, key Key, to envelope.State) (*Retirement, error) {
	d, err := k.Rotator.Keyring.Document(ctx, key.Tenant)
	if err != nil {
		return nil, err
	}
	if d.Shredded() {
		return nil, envelope.ErrKeyDestroyed
	}
	s, one := find(d, key)
	if one == nil {
		return nil, ErrNoKey
	}
	r := &Retirement{Key: key, To: to, From: one.State, Created: time.UnixMilli(one.CreatedAt), Document: d, keys: k}
	if r.Done() {
		return r, nil
	}
	if s.Primary() == key.ID {
		return nil, inUse("the key is the primary and seals: rotate first, by coffer rotate --execute")
	}
	if key.Use == format.UseCache { // one look at the entries proves nothing while they move or a failover brings some back
		return nil, inUse("rotations destroy former keys of the cache, after two sweeps that found nothing under them: coffer rotate --execute")
	}
	if err := advances(one.State, to); err != nil {
		return nil, err
	}
	record, err := k.Rotator.Record(ctx, key.Tenant)
	if err == nil {
		err = held(record, key)
	}
	if err == nil {
		err = k.unheard(record, s)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func find(d *envelope.Document, key Key) (*envelope.Keyset, *envelope.Key) {
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

// advances reports why a key cannot come from one state to another. A compromised key can be disabled, or destroyed
// right away.
func advances(from, to envelope.State) error {
	switch {
	case to == envelope.Disabled && from == envelope.Destroyed:
		return wrongState("the key is destroyed already")
	case to == envelope.Destroyed && from == envelope.Enabled:
		return wrongState("the key is still enabled: disable it first, and see that nothing fails")
	case to != envelope.Disabled && to != envelope.Destroyed:
		return wrongState("a key is disabled or destroyed by hand, and nothing else")
	}
	return nil
}

// held reports whether a rotation that is not over may go back to the key.
func held(record *rotation.Record, key Key) error {
	if record != nil && slices.ContainsFunc(record.Keysets, func(s rotation.Keyset) bool {
		return record.CanRollBack(&s) && s.Use == key.Use && s.Class == key.Class && s.FormerPrimary == rotation.ID(key.ID)
	}) {
		return inUse("a rotation that is not over holds the key, its state is %s: see coffer rotate --status", record.State)
	}
	return nil
}

// unheard reports whether a process may not have heard yet that the key is no longer the primary: one that is
// cut off from the store of keysets seals under it for as long as it keeps keys in memory. A former key that a clock far
// ahead dated delays nothing.
func (k *Manager) unheard(record *rotation.Record, s *envelope.Keyset) error {
	since := rotation.AgeDueTime(s, 0, k.Rotator.Now())
	if record != nil && record.State == rotation.RolledBack {
		since = max(since, record.Ended)
	}
	until := time.UnixMilli(since).Add(k.Rotator.Keyring.TTL() + rotation.Margin)
	if k.Rotator.Now().Before(until) {
		return inUse("a server that has not heard of the last rotation may seal under the key until %s, for as long as COFFER_KEY_CACHE_TTL: wait until then",
			until.UTC().Format(time.RFC3339))
	}
	return nil
}
