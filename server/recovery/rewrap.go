package recovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Rewrapping is what is known of the last rewrap, in the store of keysets, until it is finished.
type Rewrapping struct {
	From     []string `json:"from"` // URLs of the KEKs of the classes, in their order
	To       []string `json:"to"`
	Begun    int64    `json:"begun"`    // milliseconds since 1970
	Complete bool     `json:"complete"` // every tenant was rewrapped once
}

// since is from when on a slot of the target is the rewrap's. A target of another URL has no earlier ones.
func (w *Rewrapping) since() time.Time {
	if !slices.Equal(w.From, w.To) {
		return time.Time{}
	}
	return time.UnixMilli(w.Begun)
}

// Rewrap is what a rewrap did, or would do.
type Rewrap struct {
	Rewrapping
	Tenants  int
	Wrapped  int // roots
	Resumed  bool
	Failures []Failure
}

// rewrapName is where the Rewrapping is: environments may share a store.
func (r *Recovery) rewrapName() string { return "rewrap " + r.Environment }

// Rewrap has the roots of all tenants wrapped by the KEKs of another set, each by the one that stands where
// its own does. Servers go on under the former ones meanwhile. A run that was broken off is taken up again;
// so is a complete one to another KEK, for the tenants that were made since, while a complete one to a new
// version of the same KEK begins anew. It returns an error where a tenant could not be rewrapped, which the
// Rewrap names.
func (r *Recovery) Rewrap(ctx context.Context, to kms.Set) (*Rewrap, error) {
	if err := r.check(ctx, to); err != nil {
		return nil, err
	}
	if err := r.record(ctx, audit.KEKRewrap, "", r.moved(to, audit.PhaseBegin)); err != nil {
		return nil, err
	}
	done, changed, err := r.rewrap(ctx, to)
	failed := 0
	if done != nil {
		failed = len(done.Failures)
	}
	return done, r.ended(ctx, audit.KEKRewrap, changed, failed, err)
}

// rewrap returns the number of tenants with a root that it wrapped.
func (r *Recovery) rewrap(ctx context.Context, to kms.Set) (done *Rewrap, changed int, err error) {
	w, resumed, err := r.begin(ctx, to)
	if err != nil {
		return nil, 0, err
	}
	ids, err := r.owners(ctx)
	if err != nil {
		return nil, 0, err
	}
	done, wrapped := &Rewrap{Rewrapping: *w, Tenants: tenantsOf(ids), Resumed: resumed}, make(chan int, len(ids))
	done.Failures, err = each(ctx, r, all(ids), len(ids), itself, func(ctx context.Context, id string) error {
		n, err := r.Ring.Rewrap(ctx, id, to, w.since())
		if errors.Is(err, envelope.ErrKeyDestroyed) {
			return nil // shredded meanwhile
		}
		wrapped <- n
		return err
	})
	close(wrapped)
	for n := range wrapped {
		if done.Wrapped += n; n > 0 {
			changed++
		}
	}
	if err == nil && len(done.Failures) > 0 {
		err = fmt.Errorf("recovery: %d tenants were not rewrapped: %w", len(done.Failures), ErrUnfinished)
	}
	if err == nil {
		done.Complete = true
		err = r.note(ctx, w, &done.Rewrapping)
	}
	return done, changed, err
}

// Pending counts the roots that a rewrap would wrap, and their tenants, by what their slots say. The other
// KEKs wrap and unwrap a probe.
func (r *Recovery) Pending(ctx context.Context, to kms.Set) (tenants, roots int, err error) {
	if err := r.check(ctx, to); err != nil {
		return 0, 0, err
	}
	w, _, err := r.plan(ctx, to)
	if err != nil {
		return 0, 0, err
	}
	for d, err := range r.documents(ctx) {
		if err != nil {
			return 0, 0, err
		}
		left := 0
		for _, root := range d.Roots() {
			if !slices.ContainsFunc(d.Slots, func(s envelope.Slot) bool {
				return s.Root == root && slices.Contains(w.To, s.URL) && (w.since().IsZero() || s.CreatedAt >= w.Begun)
			}) {
				left++
			}
		}
		if roots += left; left > 0 && d.Owner != "" {
			tenants++
		}
	}
	return tenants, roots, nil
}

// Replaced is what ReplaceRoots did.
type Replaced struct {
	Tenants  int
	Roots    int // that were replaced
	Failures []Failure
}

// ReplaceRoots makes new roots for all tenants and the environment, under the KEKs that are configured, and retires the former ones.
// A root that leaked opens no key that is made afterwards. It can be run again after a kill, and then replaces all once more. It
// returns an error if a tenant's roots could not be replaced, which the Replaced names.
func (r *Recovery) ReplaceRoots(ctx context.Context) (*Replaced, error) {
	ids, err := r.owners(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.record(ctx, audit.KEKRewrap, "", r.moved(r.KEKs, "new roots")); err != nil {
		return nil, err
	}
	done, changed := &Replaced{Tenants: tenantsOf(ids)}, 0
	var mu sync.Mutex
	done.Failures, err = each(ctx, r, all(ids), len(ids), itself, func(ctx context.Context, id string) error {
		n, err := r.Ring.ReplaceRoots(ctx, id)
		if errors.Is(err, envelope.ErrKeyDestroyed) {
			return nil // shredded
		}
		mu.Lock()
		defer mu.Unlock()
		if done.Roots += n; n > 0 {
			changed++
		}
		return err
	})
	if err == nil && len(done.Failures) > 0 {
		err = fmt.Errorf("recovery: the roots of %d tenants were not replaced: %w", len(done.Failures), ErrUnfinished)
	}
	return done, r.ended(ctx, audit.KEKRewrap, changed, len(done.Failures), err)
}

// tenantsOf counts the owners that are tenants.
func tenantsOf(owners []string) int {
	if slices.Contains(owners, "") {
		return len(owners) - 1
	}
	return len(owners)
}

// documents yields the documents of all tenants, and the system document.
func (r *Recovery) documents(ctx context.Context) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		system, err := r.Ring.OwnerDocument(ctx, "")
		if !errors.Is(err, keyring.ErrNoTenant) && !yield(system, err) {
			return
		}
		for d, err := range r.Ring.Documents(ctx) {
			if !yield(d, err) {
				return
			}
		}
	}
}

// check has each KEK prove itself, before anything is entrusted to it.
func (r *Recovery) check(ctx context.Context, keks kms.Set) error {
	for _, kek := range keks.All() {
		if _, err := kms.Check(ctx, kek, r.Environment); err != nil {
			return fmt.Errorf("recovery: the KEK %s: %w", kek.URL(), err)
		}
	}
	return nil
}

// begin takes up a rewrap to these KEKs, or begins one.
func (r *Recovery) begin(ctx context.Context, to kms.Set) (w *Rewrapping, resumed bool, err error) {
	w, known, err := r.plan(ctx, to)
	if err != nil || w == known {
		return w, true, err
	}
	return w, false, r.note(ctx, known, w)
}

// plan gives the rewrap that one to these KEKs is: the known one, where that is to be taken up, or another.
func (r *Recovery) plan(ctx context.Context, to kms.Set) (w, known *Rewrapping, err error) {
	if known, err = r.Rewrapping(ctx); err != nil {
		return nil, nil, err
	}
	w = &Rewrapping{From: urls(r.KEKs), To: urls(to)}
	if known != nil && slices.Equal(w.From, w.To) && slices.Equal(known.To, w.To) && !slices.Equal(known.From, w.From) {
		return nil, nil, fmt.Errorf("recovery: the rewrap from %s to this KEK comes first: finish it by --finish, or go on with it under the former KEK: %w",
			strings.Join(slices.Compact(slices.Clone(known.From)), " "), ErrUnfinished)
	}
	if known != nil && slices.Equal(known.To, w.To) && (!known.Complete || !slices.Equal(known.From, known.To)) {
		return known, known, nil
	}
	for d, err := range r.documents(ctx) { // a slot that a clock ahead of this one dated is not the rewrap's either
		if err != nil {
			return nil, nil, err
		}
		for _, s := range d.Slots {
			w.Begun = max(w.Begun, s.CreatedAt+1)
		}
	}
	w.Begun = max(w.Begun, time.Now().UnixMilli())
	return w, known, nil
}

func urls(keks kms.Set) (all []string) {
	for _, class := range classify.All {
		all = append(all, keks.For(class).URL())
	}
	return all
}

// moved tells from where to where.
func (r *Recovery) moved(to kms.Set, phase string) audit.Facts {
	names := func(keks kms.Set) string { return strings.Join(slices.Compact(urls(keks)), " ") }
	return audit.Facts{audit.FactFrom: names(r.KEKs), audit.FactTo: names(to), audit.FactPhase: phase}
}

// Rewrapping gives what is known of a rewrap that is not finished; nil where there is none.
func (r *Recovery) Rewrapping(ctx context.Context) (*Rewrapping, error) {
	content, err := r.Store.Get(ctx, keystore.Leases, r.rewrapName())
	if err != nil || content == nil {
		return nil, err
	}
	w := &Rewrapping{}
	if json.Unmarshal(content, w) != nil {
		return nil, fmt.Errorf("recovery: %s does not say what is known of a rewrap: %w", r.Store.Where(keystore.Leases, r.rewrapName()), keystore.ErrUnavailable)
	}
	return w, nil
}

// note replaces what is known of a rewrap; nil is nothing.
func (r *Recovery) note(ctx context.Context, old, next *Rewrapping) error {
	encode := func(w *Rewrapping) []byte {
		if w == nil {
			return nil
		}
		b, _ := json.Marshal(w) // cannot fail: texts and numbers only
		return b
	}
	swapped, err := keystore.Replace(ctx, r.Store, keystore.Leases, r.rewrapName(), encode(old), encode(next), 0)
	if err == nil && !swapped {
		now, e := r.Rewrapping(ctx)
		if e != nil || !bytes.Equal(encode(now), encode(next)) {
			return errors.Join(e, fmt.Errorf("recovery: another rewrap was begun meanwhile: %w", ErrUnfinished))
		}
	}
	return err
}

// Roots counts, over all tenants, the roots that a KEK's slots open, by its URL, and those that it alone
// opens. No KEK is asked.
type Roots struct{ All, Only int }

// Status tells under which KEKs the roots of all tenants are, those of a rewrap since it began.
func (r *Recovery) Status(ctx context.Context) (*Rewrapping, map[string]Roots, error) {
	w, err := r.Rewrapping(ctx)
	if err != nil {
		return nil, nil, err
	}
	counts := map[string]Roots{}
	for d, err := range r.documents(ctx) {
		if err != nil {
			return nil, nil, err
		}
		for _, root := range d.Roots() {
			names := map[string]bool{}
			for _, s := range d.Slots {
				if s.Root == root {
					names[w.label(&s)] = true
				}
			}
			for name := range names {
				c := counts[name]
				if c.All++; len(names) == 1 {
					c.Only++
				}
				counts[name] = c
			}
		}
	}
	return w, counts, nil
}

// label names a slot's KEK, and its former version where that is what a rewrap is about.
func (w *Rewrapping) label(s *envelope.Slot) string {
	if w != nil && slices.Contains(w.To, s.URL) && !w.since().IsZero() && s.CreatedAt < w.Begun {
		return s.URL + " (before the rewrap)"
	}
	return s.URL
}
