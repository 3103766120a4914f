package keyring

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// errUnopenedRoots reports that keys are under roots that are not in memory: the KEKs have to unwrap these first.
var errUnopenedRoots = errors.New("keyring: keys under other roots")

// Reload rereads the tenant's document, so that the tenant uses changes of other processes before the next check.
func (t *Tenant) Reload(ctx context.Context) error { return t.reload(ctx, nil) }

// reload rereads the document and adopts it if it differs from the one in memory. more are additional roots that may
// be needed. A locked tenant stays locked, unless the keystore would lose something with it.
func (t *Tenant) reload(ctx context.Context, more roots) error {
	replaced, err := t.reread(ctx, more)
	if replaced {
		_, err = t.unlock(ctx) // merges both documents
	}
	return err
}

// reread implements reload, except for a document that another process created again after the one in memory had
// vanished. It then returns true: the KEKs have to open the new document before both can be merged.
func (t *Tenant) reread(ctx context.Context, more roots) (replaced bool, err error) {
	if err := t.mu.LockContext(ctx); err != nil { // a call of a keystore that does not answer may hold it
		return false, err
	}
	defer t.mu.Unlock()
	s := t.state.Load()
	if s == nil && !t.keepContent {
		return false, nil
	}
	content, err := t.ring.store.Get(ctx, keystore.Keysets, t.id)
	if err != nil {
		return false, err
	}
	if bytes.Equal(content, t.lastContent) {
		t.ring.setMissing(t, nil)
		return false, nil
	}
	if s == nil {
		_, err = t.reconcile(ctx, nil)
	} else {
		opened := roots{}
		maps.Copy(opened, t.roots)
		maps.Copy(opened, more)
		_, err = t.adopt(ctx, opened, s.since)
	}
	if errors.Is(err, errUnopenedRoots) { // the next use unlocks it; the system document is unlocked now, in case the KMS fails later
		t.keepContent = true // otherwise a record under an unknown root would hide a rollback
		if t.pinned() {
			t.scheduleRenewal(0)
			return false, nil
		}
		t.dropLocked()
		return t.ring.lostLines(t.id, content, t.lastContent), nil
	}
	return false, err
}

// lostLines reports whether the content lacks a line of roots that the former content had. Changes of a document
// replace roots, but keep their lines.
func (r *Keyring) lostLines(owner string, content, was []byte) bool {
	d, err := r.parse(owner, content)
	former, e := r.parse(owner, was)
	return err == nil && e == nil && slices.ContainsFunc(former.Lines(), func(line [envelope.LineSize]byte) bool {
		return !slices.Contains(d.Lines(), line)
	})
}

// writeBack writes a document that vanished from the store back. It returns ErrNoTenant if this process never had the
// document in memory.
func (t *Tenant) writeBack(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.existed {
		return ErrNoTenant
	}
	if _, err := t.reconcile(ctx, nil); !errors.Is(err, errUnopenedRoots) { // otherwise another process wrote a document
		return err
	}
	return nil
}

// reconcile reads the document and merges the one that this process read or wrote last into it. It writes the result
// if the store lacks any of it. Documents only ever gain records, so the store then returned to an earlier state, by
// a failover or a snapshot. Without the merge, a key in use could be lost, or a shredding undone. reconcile returns
// errUnopenedRoots if records of the stored document are under roots that are not open. t.mu must be held.
func (t *Tenant) reconcile(ctx context.Context, opened roots) (d *envelope.Document, err error) {
	vanished := false
	defer func() {
		if vanished && err != nil {
			t.ring.setMissing(t, err)
			t.keepContent = true
		} else if err == nil || errors.Is(err, errUnopenedRoots) {
			t.ring.setMissing(t, nil)
		}
	}()
	for {
		d, content, err := t.ring.read(ctx, t.id)
		if err != nil {
			return nil, err
		}
		if d == nil && t.lastContent != nil && !vanished {
			vanished = true
			if !t.ring.isMissing(t) {
				t.ring.onIncident(Incident{Tenant: t.id})
			}
		}
		joined, err := t.join(ctx, d, content, opened)
		if err != nil {
			return nil, err
		}
		whole, err := joined.Append(nil)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(whole, content) {
			swapped, err := t.ring.swap(ctx, joined, content, whole)
			if err != nil {
				return nil, err
			}
			if !swapped { // another process changed it concurrently
				continue
			}
			if !vanished {
				t.ring.onIncident(Incident{Tenant: t.id})
			}
			t.ring.onIncident(Incident{Tenant: t.id, Restored: true})
			if d == nil {
				t.ring.restored.Add(1)
			}
		}
		t.keepContent = joined.Shredded()
		t.remember(whole)
		return joined, nil
	}
}

// remember remembers the document that this process read or wrote last. The next check rereads it, because the store
// may lose an entry of the feed before this process reads it. t.mu must be held.
func (t *Tenant) remember(content []byte) {
	if t.existed && bytes.Equal(t.lastContent, content) {
		return
	}
	t.existed, t.lastContent = true, content
	t.ring.mu.Lock()
	defer t.ring.mu.Unlock()
	if t.ring.ctx.Err() == nil && len(t.ring.pending) < DefaultMaxTenants { // limits the memory during a long outage
		t.ring.pending[t] = false
	}
}

// join verifies the stored document, or nil if it is missing, and merges the one that this process read or wrote last
// into it.
func (t *Tenant) join(ctx context.Context, d *envelope.Document, content []byte, opened roots) (*envelope.Document, error) {
	switch {
	case t.lastContent == nil && d == nil:
		return nil, t.ring.unreadable(t.id, errors.New("it was removed: restore it from a backup"))
	case d != nil && bytes.Equal(t.lastContent, content):
		return d, nil
	}
	var was *envelope.Document
	if t.lastContent != nil {
		var err error
		if was, err = t.ring.parse(t.id, t.lastContent); err != nil || d == nil {
			return was, err
		}
	}
	all := roots{}
	maps.Copy(all, t.roots)
	maps.Copy(all, opened)
	if !opensAllRoots(d, all) {
		if was != nil && contains(was, d) {
			return was, nil
		}
		return nil, errUnopenedRoots
	}
	if err := t.ring.verify(ctx, d, all); err != nil || was == nil {
		return d, err
	}
	merged, err := t.ring.merge(ctx, was, d, all)
	if errors.Is(err, errUnopenedRoots) { // some roots were replaced, and their KEK may not open them any more
		if all, err = t.ring.openAll(ctx, was, all); err == nil {
			merged, err = t.ring.merge(ctx, was, d, all)
		}
	}
	if err != nil {
		return nil, t.ring.rejectDamaged(t.id, content, err)
	}
	return merged, nil
}

// contains reports whether a document has everything that another one has. The other one need not be verified.
func contains(was, d *envelope.Document) bool {
	merged, err := envelope.Merge(was, d)
	if err != nil {
		return false
	}
	for range keysWithEarlierState(merged, d) {
		return false
	}
	return equalDocuments(merged, was)
}
