// Package recovery is what an operator does to all keysets of an environment at once: have them wrapped by
// another KEK, back them up, prove that a backup opens, restore it, and shred a tenant.
//
// What it guarantees: data is never touched, and no key is lost by a kill at any point, for every keyset
// changes as a whole and every operation can be run again; a former KEK's slots are retired only when each
// root of each tenant was unwrapped by the new one; a backup that is cut short, altered or mixed of two is
// refused before anything is changed; a restore merges, so that it takes back neither a newer key nor a
// shredding or destruction; and no KEK is dialled but those that the caller opened.
package recovery

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"sync"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
)

// The sentinels; those of keyring, kms and envelope come through as well.
var (
	// ErrBackup says that a file is no backup that may be restored: cut short, altered, mixed, or another KEK's.
	ErrBackup = &codes.Error{Of: "authentication_failed", Text: "the file is not a whole backup of this environment's keys"}
	// ErrNoKeys says that there is no tenant of this environment, in the store or in a backup.
	ErrNoKeys = &codes.Error{Of: "not_found", Text: "there are no keys of this environment: check --data, or COFFER_KEYS_REDIS_URL, and COFFER_ENVIRONMENT"}
	// ErrAlive says that a tenant is said to be shredded, or keys of it to be destroyed, and that these are in use.
	ErrAlive = &codes.Error{
		Of: "key_unusable", Text: "the tenant was shredded, or keys of it destroyed, by what the audit log or the list says, but these keys are in the store and in use: shred it again or destroy them, or leave it",
	}
	// ErrAbsent says that ids of a list of shredded tenants are of no tenant in the backup.
	ErrAbsent = &codes.Error{Of: "invalid_argument", Text: "an id in the list of shredded tenants is of no tenant in the backup: correct it, or take it out"}
	// ErrUnfinished says that the former KEK is still needed.
	ErrUnfinished = &codes.Error{Of: "key_unusable", Text: "the former KEK is still needed"}
)

// Recovery works on the keysets of one environment. It is safe for concurrent use, also with servers and
// others of its kind.
type Recovery struct{ Options }

// Options is what a Recovery works on.
type Options struct {
	Ring        *keyring.Keyring
	Store       keystore.Store // of the ring
	KEKs        kms.Set        // of the ring
	Environment string         // of the ring
	Audit       audit.Recorder
	Operation   string                // what its events are of: the command, or the operation's id in the OpenAPI document
	Reason      audit.Reason          // why somebody asked for it; recorded
	Progress    func(done, total int) // told after each tenant, by one at a time; nil for nobody
}

// New makes a Recovery.
func New(options Options) *Recovery { return &Recovery{options} }

// Failure is a tenant for which something failed.
type Failure struct {
	Tenant string
	Err    error
}

// atOnce is how many tenants are worked on at the same time: a KMS takes milliseconds for a call, and limits
// how many there are a second.
const atOnce = 32

// owners returns the ids of all tenants, and the empty one of the system document if there is one. A keyset that cannot be
// read is an error: nothing may be taken to be done for all of them then.
func (r *Recovery) owners(ctx context.Context) (ids []string, err error) {
	if _, err := r.Ring.OwnerDocument(ctx, ""); err == nil {
		ids = append(ids, "")
	} else if !errors.Is(err, keyring.ErrNoTenant) {
		return nil, err
	}
	for d, err := range r.Ring.Documents(ctx) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, d.Owner)
	}
	return ids, nil
}

// all yields the elements of a list.
func all[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// each does something for every item, several at once. It continues if that fails for one of them, but not
// if the KMS is out of reach or the items end with an error.
func each[T any](
	ctx context.Context, r *Recovery, items iter.Seq2[T, error], total int, name func(T) string, do func(ctx context.Context, item T) error,
) (failures []Failure, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	done, queue := 0, make(chan T)
	note := func(item T, err error) {
		mu.Lock()
		defer mu.Unlock()
		if done++; r.Progress != nil {
			r.Progress(done, total)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		if failures = append(failures, Failure{name(item), err}); kms.Unusable(err) {
			cancel(err)
		}
	}
	var wg sync.WaitGroup
	for range min(atOnce, total) {
		wg.Go(func() {
			for item := range queue {
				note(item, do(ctx, item))
			}
		})
	}
	for item, err := range items {
		if err != nil {
			cancel(err)
		}
		select {
		case queue <- item:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(queue)
	wg.Wait()
	return failures, context.Cause(ctx)
}

func itself(id string) string { return id }

// record writes an event, before what it is about takes effect.
func (r *Recovery) record(ctx context.Context, action audit.Action, tenant string, facts audit.Facts) error {
	return r.Audit.Record(ctx, audit.Event{Action: action, Operation: r.Operation, Tenant: tenant, Facts: facts.With(r.Reason)})
}

// ended records the end of an operation: how many tenants it changed, and for how many it failed. A tenant that
// needed no change counts as neither. It returns err, joined with the error of the audit log.
func (r *Recovery) ended(ctx context.Context, action audit.Action, done, failed int, err error) error {
	e := audit.Event{Action: action, Operation: r.Operation, Facts: audit.Facts{
		audit.FactPhase: audit.PhaseEnd, audit.FactDone: strconv.Itoa(done), audit.FactFailed: strconv.Itoa(failed),
	}}
	if err != nil {
		e.Code = codes.Of(err).Code
	}
	return errors.Join(err, r.Audit.Record(context.WithoutCancel(ctx), e))
}
