package recovery

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Rewrap has the roots of all tenants wrapped by the KEKs of another set, each by the one that stands where its own does.
//
// If they are other KEKs, it leaves a root whose newest slot is of its new one, so that a run which was broken off continues. Servers
// go on under the former KEKs: their slots stay until Finish. If they are the configured KEKs, because the KMS has a new version of the
// key, it replaces each tenant's former slots in one step, after the KEK unwrapped the new ones.
//
// The new KEKs wrap and unwrap a probe first. With dry, Rewrap then only counts the roots that it would wrap. It returns an error if a
// tenant could not be rewrapped, which the Report names.
func (r *Recovery) Rewrap(ctx context.Context, to kms.Set, dry bool) (*Report, error) {
	for _, kek := range to.All() {
		if _, err := kms.Check(ctx, kek, r.Environment); err != nil {
			return nil, fmt.Errorf("recovery: the KEK %s: %w", kek.URL(), err)
		}
	}
	facts := r.moved(to, audit.PhaseBegin)
	if dry {
		facts = nil
	}
	return r.all(ctx, facts, func(ctx context.Context, d *envelope.Document) (wrapped int, err error) {
		if n := len(r.missing(d, to)); n == 0 || dry {
			return n, nil
		}
		err = r.Keyring.Edit(ctx, d.Owner, func(e *keyring.Edit) error {
			missing := r.missing(e.Document, to)
			wrapped = len(missing)
			for root, kek := range missing {
				if err := e.WrapRoot(ctx, root, kek); err != nil {
					return err
				}
			}
			return nil
		})
		return wrapped, err
	})
}

// Finish retires the slots of all KEKs but those of a set, after these have opened all roots and keys of every tenant. If they do
// not, or a root has a newer slot of another KEK, it changes nothing and returns ErrUnfinished, and the Report names the tenants. The
// system document comes last: until then a run that was broken off can be repeated under the former KEKs, which open the audit log.
// No server may be running under the former KEKs any more: a tenant that one of them makes would be under these alone.
func (r *Recovery) FinishRewrap(ctx context.Context, to kms.Set) (*Report, error) {
	target, err := keyring.New(r.Store, to, r.Environment)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	former := func(s envelope.Slot) bool { return s.Kind == envelope.SlotKMS && !slices.Contains(urls(to), s.URL) }
	prove := func(ctx context.Context, d *envelope.Document) (int, error) {
		for _, root := range d.Roots() {
			if s := newest(d, root); s == nil || former(*s) {
				return 0, fmt.Errorf("recovery: its root %x was not rewrapped to this KEK: run the rewrap first: %w", root.ID[:8], ErrRewrapUnfinished)
			}
		}
		_, _, err := target.VerifyDocument(ctx, d)
		return 0, err
	}
	retire := func(system bool) func(context.Context, *envelope.Document) (int, error) {
		return func(ctx context.Context, d *envelope.Document) (retired int, err error) {
			if (d.Owner == "") != system || !slices.ContainsFunc(d.Slots, former) { // an earlier run did it
				return 0, nil
			}
			err = target.Edit(ctx, d.Owner, func(e *keyring.Edit) error { // which has the new KEKs open every root once more
				retired, err = e.RetireSlots(former)
				return err
			})
			return retired, err
		}
	}
	return r.all(ctx, r.moved(to, audit.PhaseFinish), prove, retire(false), retire(true))
}

// ReplaceRoots makes new roots for all tenants and the environment, under the KEKs that are configured, and retires the former ones.
// A root that leaked opens no key that is made afterwards. It can be run again after a kill, and then replaces all once more. It
// returns an error if a tenant's roots could not be replaced, which the Report names.
func (r *Recovery) ReplaceRoots(ctx context.Context) (*Report, error) {
	return r.all(ctx, r.moved(r.KEKs, "new roots"), func(ctx context.Context, d *envelope.Document) (replaced int, err error) {
		err = r.Keyring.Edit(ctx, d.Owner, func(e *keyring.Edit) error {
			replaced = len(e.Roots())
			return e.ReplaceRoots(ctx)
		})
		return replaced, err
	})
}

// Status counts the roots of all tenants by the URLs of the KEKs in their slots. No KEK is asked.
func (r *Recovery) CountRootsByKEK(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	for d, err := range r.documents(ctx) {
		if err != nil {
			return nil, err
		}
		urls := map[envelope.Root][]string{}
		for _, s := range d.Slots {
			urls[s.Root] = append(urls[s.Root], s.URL)
		}
		for _, some := range urls {
			slices.Sort(some)
			counts[strings.Join(slices.Compact(some), " and ")]++
		}
	}
	return counts, nil
}

// missing returns the roots that a rewrap has to wrap, each with the KEK that stands where the root's own does in the configured set:
// those whose newest slot is not of that KEK, or all if the KEKs are the configured ones.
func (r *Recovery) missing(d *envelope.Document, to kms.Set) map[envelope.Root]kms.KEK {
	missing, again := map[envelope.Root]kms.KEK{}, slices.Equal(urls(r.KEKs), urls(to))
	for _, root := range d.Roots() {
		target := to.All()[0]
		for _, class := range slices.Backward(classify.All[:]) {
			own := r.KEKs.For(class).URL()
			if slices.ContainsFunc(d.Slots, func(s envelope.Slot) bool { return s.Root == root && s.URL == own }) {
				target = to.For(class)
			}
		}
		if s := newest(d, root); again || s == nil || s.URL != target.URL() {
			missing[root] = target
		}
	}
	return missing
}

// newest returns the last slot that was added to a root, nil if the root has no slot.
func newest(d *envelope.Document, root envelope.Root) (last *envelope.Slot) {
	for i := range d.Slots {
		if s := &d.Slots[i]; s.Root == root && s.Kind == envelope.SlotKMS && (last == nil || s.CreatedAt > last.CreatedAt) {
			last = s
		}
	}
	return last
}

// urls returns the URLs of the KEKs of the classes, in their order.
func urls(keks kms.Set) (all []string) {
	for _, class := range classify.All {
		all = append(all, keks.For(class).URL())
	}
	return all
}

// moved returns facts that say from which KEKs to which.
func (r *Recovery) moved(to kms.Set, phase string) audit.Facts {
	names := func(keks kms.Set) string { return strings.Join(slices.Compact(urls(keks)), " ") }
	return audit.Facts{audit.FactFrom: names(r.KEKs), audit.FactTo: names(to), audit.FactPhase: phase}
}
