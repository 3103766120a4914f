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

// Rewrap wraps the roots of all tenants by the KEKs of another set. Each root gets the new KEK of the class that its
// present KEK serves.
//
// If the KEKs are new ones, Rewrap skips a root whose newest slot is already of its new KEK, so an interrupted run
// can be repeated. The slots of the former KEKs stay until [Recovery.FinishRewrap], so servers continue to use them.
// If the KEKs are the configured ones, because the KMS has a new version of the key, Rewrap replaces each tenant's
// slots in one step, after the KEK unwrapped the new ones.
//
// Rewrap first checks that each new KEK can wrap and unwrap. If dry is true, it then only counts the roots that it
// would wrap. It returns an error if a tenant could not be rewrapped; the Report names those tenants.
func (r *Recovery) Rewrap(ctx context.Context, to kms.Set, dry bool) (*Report, error) {
	for _, kek := range to.All() {
		if _, err := kms.Check(ctx, kek, r.Environment); err != nil {
			return nil, fmt.Errorf("recovery: the KEK %s: %w", kek.URL(), err)
		}
	}
	facts := r.rewrapFacts(to, audit.PhaseBegin)
	if dry {
		facts = nil
	}
	return r.runSteps(ctx, facts, func(ctx context.Context, d *envelope.Document) (wrapped int, err error) {
		if n := len(r.rootsToWrap(d, to)); n == 0 || dry {
			return n, nil
		}
		err = r.Keyring.Edit(ctx, d.Owner, func(e *keyring.Edit) error {
			rootsToWrap := r.rootsToWrap(e.Document, to)
			wrapped = len(rootsToWrap)
			for root, kek := range rootsToWrap {
				if err := e.WrapRoot(ctx, root, kek); err != nil {
					return err
				}
			}
			return nil
		})
		return wrapped, err
	})
}

// FinishRewrap retires the slots of all KEKs that are not in a set, after the KEKs of the set have opened all roots
// and keys of every tenant. If they do not open one, or a root has a newer slot of another KEK, FinishRewrap changes
// nothing and returns ErrRewrapUnfinished; the Report names the tenants. The system document is changed last: until
// then, an interrupted run can be repeated under the former KEKs, which open the audit log. No server may still run
// under the former KEKs, because the tenants that it creates would be under those KEKs only.
func (r *Recovery) FinishRewrap(ctx context.Context, to kms.Set) (*Report, error) {
	target, err := keyring.New(r.Store, to, r.Environment)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	former := func(s envelope.Slot) bool { return s.Kind == envelope.SlotKMS && !slices.Contains(kekURLs(to), s.URL) }
	verify := func(ctx context.Context, d *envelope.Document) (int, error) {
		for _, root := range d.Roots() {
			if s := newestSlot(d, root); s == nil || former(*s) {
				return 0, fmt.Errorf("recovery: its root %x was not rewrapped to this KEK: run the rewrap first: %w", root.ID[:8], ErrRewrapUnfinished)
			}
		}
		_, _, err := target.VerifyDocument(ctx, d)
		return 0, err
	}
	retire := func(system bool) func(context.Context, *envelope.Document) (int, error) {
		return func(ctx context.Context, d *envelope.Document) (retired int, err error) {
			if (d.Owner == "") != system || !slices.ContainsFunc(d.Slots, former) { // an earlier run retired them
				return 0, nil
			}
			err = target.Edit(ctx, d.Owner, func(e *keyring.Edit) error { // Edit opens every root by the new KEKs again
				retired, err = e.RetireSlots(former)
				return err
			})
			return retired, err
		}
	}
	return r.runSteps(ctx, r.rewrapFacts(to, audit.PhaseFinish), verify, retire(false), retire(true))
}

// ReplaceRoots makes new roots for all tenants and the environment under the configured KEKs, and retires the former
// ones. Afterwards, a leaked root opens no key that is made later. After a kill, run it again: it then replaces all
// roots again. ReplaceRoots returns an error if a tenant's roots could not be replaced; the Report names those
// tenants.
func (r *Recovery) ReplaceRoots(ctx context.Context) (*Report, error) {
	return r.runSteps(ctx, r.rewrapFacts(r.KEKs, "new roots"), func(ctx context.Context, d *envelope.Document) (replaced int, err error) {
		err = r.Keyring.Edit(ctx, d.Owner, func(e *keyring.Edit) error {
			replaced = len(e.Roots())
			return e.ReplaceRoots(ctx)
		})
		return replaced, err
	})
}

// CountRootsByKEK counts the roots of all tenants by the URLs of the KEKs in their slots. It calls no KEK, except to
// verify shred records.
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
		for _, ofRoot := range urls {
			slices.Sort(ofRoot)
			counts[strings.Join(slices.Compact(ofRoot), " and ")]++
		}
	}
	return counts, nil
}

// rootsToWrap returns the roots that a rewrap has to wrap, each with its new KEK: the one of the class that the
// root's present KEK serves. These are the roots whose newest slot is not of the new KEK, or all roots if the KEKs
// are the configured ones.
func (r *Recovery) rootsToWrap(d *envelope.Document, to kms.Set) map[envelope.Root]kms.KEK {
	rootsToWrap, sameKEKs := map[envelope.Root]kms.KEK{}, slices.Equal(kekURLs(r.KEKs), kekURLs(to))
	for _, root := range d.Roots() {
		target := to.All()[0]
		for _, class := range slices.Backward(classify.All[:]) {
			own := r.KEKs.For(class).URL()
			if slices.ContainsFunc(d.Slots, func(s envelope.Slot) bool { return s.Root == root && s.URL == own }) {
				target = to.For(class)
			}
		}
		if s := newestSlot(d, root); sameKEKs || s == nil || s.URL != target.URL() {
			rootsToWrap[root] = target
		}
	}
	return rootsToWrap
}

// newestSlot returns the KMS slot that was added to a root last, or nil if no KMS slot opens the root.
func newestSlot(d *envelope.Document, root envelope.Root) (newest *envelope.Slot) {
	for i := range d.Slots {
		if s := &d.Slots[i]; s.Root == root && s.Kind == envelope.SlotKMS && (newest == nil || s.CreatedAt > newest.CreatedAt) {
			newest = s
		}
	}
	return newest
}

// kekURLs returns the URL of the KEK of each class, in the order of classes.
func kekURLs(keks kms.Set) (urls []string) {
	for _, class := range classify.All {
		urls = append(urls, keks.For(class).URL())
	}
	return urls
}

// rewrapFacts returns the facts of a rewrap's event: the URLs of the former and the new KEKs, and the phase.
func (r *Recovery) rewrapFacts(to kms.Set, phase string) audit.Facts {
	names := func(keks kms.Set) string { return strings.Join(slices.Compact(kekURLs(keks)), " ") }
	return audit.Facts{audit.FactFrom: names(r.KEKs), audit.FactTo: names(to), audit.FactPhase: phase}
}
