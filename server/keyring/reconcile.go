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

// errRoots reports keys under roots that are not in memory: the KEKs have to be asked.
var errRoots = errors.New("keyring: keys under other roots")

// Reload has the tenant work with its document as it is now, instead of within CheckInterval.
func (t *Tenant) Reload(ctx context.Context) error { return t.reload(ctx, nil) }

// reload adopts the document if it is another than the one in memory. It may be under more roots than those in memory. A locked
// tenant stays locked, unless the keystore would lose something with it.
func (t *Tenant) reload(ctx context.Context, more roots) error {
	replaced, err := t.reread(ctx, more)
	if replaced {
		_, err = t.unlock(ctx) // joins both documents
	}
	return err
}

// reread is reload without the join. It reports whether the document must be joined with the one in memory, for which the KEKs have
// to open it: another process made it again after the one in memory had vanished.
func (t *Tenant) reread(ctx context.Context, more roots) (replaced bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state.Load()
	if s == nil && !t.keep {
		return false, nil
	}
	content, err := t.ring.store.Get(ctx, keystore.Keysets, t.id)
	if err != nil {
		return false, err
	}
	if bytes.Equal(content, t.content) {
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
	if errors.Is(err, errRoots) { // the next use unlocks it; the system document is unlocked now, to be ready in an outage of the KMS
		t.keep = true // or a record under an unknown root would let an earlier document pass
		if t.pinned() {
			t.wait(0)
			return false, nil
		}
		t.drop()
		return t.ring.lacksLines(t.id, content, t.content), nil
	}
	return false, err
}

// lacksLines reports whether a line of the document that was is missing from the present content. Changes of a document replace
// roots, but keep their lines.
func (r *Keyring) lacksLines(owner string, content, was []byte) bool {
	d, err := r.parse(owner, content)
	former, e := r.parse(owner, was)
	return err == nil && e == nil && slices.ContainsFunc(former.Lines(), func(line [envelope.LineSize]byte) bool {
		return !slices.Contains(d.Lines(), line)
	})
}

// restore writes a document that vanished from the store back. It returns ErrNoTenant if this process never saw one.
func (t *Tenant) restore(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.seen {
		return ErrNoTenant
	}
	if _, err := t.reconcile(ctx, nil); !errors.Is(err, errRoots) { // else another process wrote one
		return err
	}
	return nil
}

// reconcile returns the document after joining what this process saw of it last, which it writes if the store lacks it. Documents
// only ever gain, so the store went back to an earlier state then, by a failover or a snapshot: no key that seals is lost, and no
// shredding undone. It returns errRoots if records of the present document are under roots that are not open. t.mu must be held.
func (t *Tenant) reconcile(ctx context.Context, opened roots) (d *envelope.Document, err error) {
	vanished := false
	defer func() {
		if vanished && err != nil {
			t.ring.setMissing(t, err)
			t.keep = true
		} else if err == nil || errors.Is(err, errRoots) {
			t.ring.setMissing(t, nil)
		}
	}()
	for {
		d, content, err := t.ring.read(ctx, t.id)
		if err != nil {
			return nil, err
		}
		if d == nil && t.content != nil && !vanished {
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
			if !swapped { // another process came in between
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
		t.keep = joined.Shredded()
		t.saw(whole)
		return joined, nil
	}
}

// saw remembers the document that this process read or wrote last. The next look reads it again: an entry of the feed that the
// store loses before this process read it does not show in the feed. t.mu must be held.
func (t *Tenant) saw(content []byte) {
	if t.seen && bytes.Equal(t.content, content) {
		return
	}
	t.seen, t.content = true, content
	t.ring.mu.Lock()
	defer t.ring.mu.Unlock()
	if t.ring.ctx.Err() == nil && len(t.ring.pending) < DefaultMaxTenants { // which bounds the memory in a long outage
		t.ring.pending[t] = false
	}
}

// join verifies the present document, which is nil if it is missing, and merges the one that this process saw last into it.
func (t *Tenant) join(ctx context.Context, d *envelope.Document, content []byte, opened roots) (*envelope.Document, error) {
	switch {
	case t.content == nil && d == nil:
		return nil, t.ring.unreadable(t.id, errors.New("it was removed: restore it from a backup"))
	case d != nil && bytes.Equal(t.content, content):
		return d, nil
	}
	var was *envelope.Document
	if t.content != nil {
		var err error
		if was, err = t.ring.parse(t.id, t.content); err != nil || d == nil {
			return was, err
		}
	}
	all := roots{}
	maps.Copy(all, t.roots)
	maps.Copy(all, opened)
	if !covers(d, all) {
		if was != nil && containsAll(was, d) {
			return was, nil
		}
		return nil, errRoots
	}
	if err := t.ring.verify(ctx, d, all); err != nil || was == nil {
		return d, err
	}
	merged, err := t.ring.merge(ctx, was, d, all)
	if errors.Is(err, errRoots) { // of roots that were replaced, which their KEK may not open any more
		if all, err = t.ring.openAll(ctx, was, all); err == nil {
			merged, err = t.ring.merge(ctx, was, d, all)
		}
	}
	if err != nil {
		return nil, t.ring.rejectDamaged(t.id, content, err)
	}
	return merged, nil
}

// containsAll reports whether a document has everything that is in another one, which need not be verified.
func containsAll(was, d *envelope.Document) bool {
	merged, err := envelope.Merge(was, d)
	if err != nil {
		return false
	}
	for range behind(merged, d) {
		return false
	}
	return same(merged, was)
}
