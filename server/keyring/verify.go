package keyring

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"hash"
	"runtime"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// VerifyDocument proves that a document opens: the KEKs unwrap every root, every record under the roots is verified,
// and every key that is not destroyed is unwrapped. It returns how many roots and keys opened, ErrUnreadable with a
// reason if something does not open, and the error of a KEK that did not answer. It does not verify shred records,
// because their key may be lost with the store.
func (r *Keyring) VerifyDocument(ctx context.Context, d *envelope.Document) (opened, keys int, err error) {
	known, err := r.unwrapRoots(ctx, d, nil)
	if err != nil && answered(err) {
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err != nil {
		return 0, 0, err
	}
	for _, one := range known {
		defer one.key.Clear()
	}
	for _, root := range d.Roots() {
		if known[root].key == nil {
			return len(known), 0, fmt.Errorf("%w: its root %x is not opened by the configured KEK, or was altered", ErrUnreadable, root.ID[:8])
		}
	}
	v, err := newVault(d, known)
	if err != nil {
		return len(known), 0, fmt.Errorf("%w: a slot, key or primary was altered: %w", ErrUnreadable, err)
	}
	for _, key := range v.keys {
		runtime.SetFinalizer(key, nil) // clear the keys of many documents without waiting for the garbage collector
		key.Clear()
	}
	return len(known), len(v.keys), nil
}

// errUnconfiguredKEK reports a root that the document names and no configured KEK opens.
var errUnconfiguredKEK = errors.New("its keys are under a KEK that is not configured: configure it too, or restore the keyset from a backup")

// verify verifies every record of a document under opened roots, or only the shred records if opened is nil. It
// returns ErrUnreadable if a record was altered, or is under a root that is not open.
func (r *Keyring) verify(ctx context.Context, d *envelope.Document, opened roots) error {
	if opened != nil && !opensAllRoots(d, opened) {
		return r.reject(d.Owner, encoded(d), r.unreadable(d.Owner, errUnconfiguredKEK))
	}
	var shreds []*secret.Key
	if len(d.Shreds) > 0 {
		var err error
		if shreds, err = r.shredKeys(ctx); err != nil {
			return err
		}
	}
	if err := d.Verify(authenticator(opened, shreds)); err != nil {
		return r.rejectDamaged(d.Owner, encoded(d), err)
	}
	return nil
}

// authenticator returns a function that computes the MACs of records: of shred records under one of the keys in
// shreds, of all others under their roots. For a shred record it uses the key under which the existing MAC is right,
// or else the first. If shreds is nil, it skips shred records: a holder of a vault's secret does not have their keys.
// The function is not safe for concurrent use.
func authenticator(opened roots, shreds []*secret.Key) envelope.Authenticator {
	hashes := map[*secret.Key]hash.Hash{}
	sum := func(key *secret.Key, message []byte) (mac [envelope.MACSize]byte) {
		h, ok := hashes[key]
		if !ok {
			h = key.MAC(envelope.LabelRecordMAC)
			hashes[key] = h
		}
		h.Reset()
		h.Write(message)
		h.Sum(mac[:0])
		return mac
	}
	return func(r *envelope.Record) (mac [envelope.MACSize]byte, ok bool) {
		if !r.Shred {
			key := opened[r.Root].key
			if key == nil {
				return mac, false
			}
			return sum(key, r.Message), true
		}
		if shreds == nil {
			return mac, false
		}
		for i := len(shreds) - 1; i >= 0; i-- {
			if mac = sum(shreds[i], r.Message); hmac.Equal(mac[:], r.MAC) {
				break
			}
		}
		return mac, true // without keys, every shred record is refused
	}
}
