package recovery

import (
	"context"
	"fmt"
	"slices"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
)

// Finished is what the end of a rewrap did.
type Finished struct {
	Tenants  int
	Retired  int       // slots
	Unproven []Failure // tenants whose roots the new KEK did not open
}

// Finish retires the former KEKs' slots, once the new ones have unwrapped every root of every tenant. Where
// one is left that they did not, it changes nothing and returns ErrUnfinished, and the Finished names the
// tenants. No server may be running under the former KEKs any more: a tenant that one of them makes would be
// under these alone.
func (r *Recovery) Finish(ctx context.Context, to kms.Set) (*Finished, error) {
	w, err := r.Rewrapping(ctx)
	switch {
	case err != nil:
		return nil, err
	case w == nil || !slices.Equal(w.To, urls(to)):
		return nil, fmt.Errorf("recovery: no rewrap to this KEK was begun: %w", ErrUnfinished)
	case !w.Complete:
		return nil, fmt.Errorf("recovery: the rewrap was broken off: run it to its end first: %w", ErrUnfinished)
	}
	ids, err := r.owners(ctx)
	if err != nil {
		return nil, err
	}
	finished, proofs := &Finished{Tenants: tenantsOf(ids)}, make(chan proven, len(ids))
	finished.Unproven, err = each(ctx, r, all(ids), len(ids), itself, func(ctx context.Context, id string) error {
		proof, err := r.prove(ctx, id, to, w)
		proofs <- proven{id, proof}
		return err
	})
	close(proofs)
	switch {
	case err != nil:
		return finished, err
	case len(finished.Unproven) > 0:
		return finished, fmt.Errorf("recovery: the new KEK does not open the roots of %d tenants: %w", len(finished.Unproven), ErrUnfinished)
	}
	if err := r.record(ctx, audit.KEKRewrap, "", r.moved(to, audit.PhaseFinish)); err != nil {
		return finished, err
	}
	changed, err := r.retire(ctx, w, proofs, finished)
	return finished, r.ended(ctx, audit.KEKRewrap, changed, len(finished.Unproven), err)
}

// proven is a tenant whose roots the new KEK unwrapped.
type proven struct {
	tenant string
	proof  keyring.Proof
}

func (r *Recovery) prove(ctx context.Context, id string, to kms.Set, w *Rewrapping) (keyring.Proof, error) {
	d, err := r.Ring.OwnerDocument(ctx, id)
	if err != nil {
		return keyring.Proof{}, err
	}
	proof, err := keyring.Prove(ctx, d, to, w.since())
	if err == nil && len(proof.Missing) > 0 {
		err = fmt.Errorf("recovery: the new KEK does not open %d of its roots; the first is %x: %w", len(proof.Missing), proof.Missing[0][:8], ErrUnfinished)
	}
	return proof, err
}

// retire returns the number of tenants of which it retired a slot.
func (r *Recovery) retire(ctx context.Context, w *Rewrapping, proofs <-chan proven, finished *Finished) (changed int, err error) {
	var proved []proven
	for p := range proofs {
		proved = append(proved, p)
	}
	retired := make(chan int, len(proved))
	failures, err := each(ctx, r, all(proved), len(proved), func(p proven) string { return p.tenant }, func(ctx context.Context, p proven) error {
		n, err := r.Ring.RetireSlots(ctx, p.tenant, p.proof)
		retired <- n
		return err
	})
	close(retired)
	for n := range retired {
		if finished.Retired += n; n > 0 {
			changed++
		}
	}
	finished.Unproven = failures
	switch {
	case err != nil:
		return changed, err
	case len(failures) > 0:
		return changed, fmt.Errorf("recovery: of %d tenants a root was made meanwhile: rewrap again: %w", len(failures), ErrUnfinished)
	}
	return changed, r.note(ctx, w, nil)
}
