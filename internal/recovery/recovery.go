// Package recovery is what an operator does to all keysets of an environment at once: have them wrapped by another KEK, back them
// up, prove that a backup opens, restore it, and shred a tenant.
//
// It guarantees that data is never touched, and that a kill at any point loses no key: every keyset changes as a whole, and every
// operation can be run again. It keeps no state of its own: the slots of the keysets show the progress of a rewrap. A former KEK's slots
// are retired only after the new one has unwrapped each root of each tenant. A backup that was cut short, altered or mixed of two is
// refused before anything is changed. A restore merges, so it takes back neither a newer key nor a shredding or destruction. No KEK
// is dialled but those that the caller opened.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// The sentinels; those of keyring, kms and envelope come through as well.
var (
	// ErrBackup says that a file is no backup that may be restored: cut short, altered, mixed, or another KEK's.
	ErrBackup = &codes.Error{Of: "authentication_failed", Text: "the file is not a whole backup of this environment's keys"}
	// ErrNoKeys says that there is no tenant of this environment, in the store or in a backup.
	ErrNoKeys = &codes.Error{Of: "not_found", Text: "there are no keys of this environment: check --data, or COFFER_KEYS_REDIS_URL, and COFFER_ENVIRONMENT"}
	// ErrAbsent says that ids of a list of shredded tenants are of no tenant in the backup.
	ErrUnknownTenants = &codes.Error{Of: "invalid_argument", Text: "an id in the list of shredded tenants is of no tenant in the backup: correct it, or take it out"}
	// ErrUnfinished says that the former KEK is still needed.
	ErrRewrapUnfinished = &codes.Error{Of: "key_unusable", Text: "the former KEK is still needed"}
)

// Recovery works on the keysets of one environment. It is safe for concurrent use, also with servers and
// others of its kind.
type Recovery struct {
	Keyring     *keyring.Keyring
	Store       keystore.Store // of the ring
	KEKs        kms.Set        // of the ring
	Environment string         // of the ring
	Audit       audit.Recorder
	Operation   string                // what its events are of: the command, or the operation's id in the OpenAPI document
	Reason      audit.Reason          // why somebody asked for it; recorded
	Progress    func(done, total int) // called after each tenant, by one goroutine at a time; nil for none
}

// Failure is a tenant for which something failed; the empty one is the environment's own document.
type Failure struct {
	Tenant string
	Err    error
}

// Report is what an operation did for all tenants and the environment.
type Report struct {
	Tenants  int       // all of them
	Changed  int       // documents with a change
	Count    int       // roots that were wrapped or replaced, or slots that were removed
	Failures []Failure // that of the system document, if it failed, and those of tenants
}

// atOnce is how many tenants are worked on at the same time: a KMS takes milliseconds for a call, and limits
// how many there are a second.
const atOnce = 32

// documents yields the system document, if there is one, and those of all tenants.
func (r *Recovery) documents(ctx context.Context) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		system, err := r.Keyring.OwnerDocument(ctx, "")
		if !errors.Is(err, keyring.ErrNoTenant) && !yield(system, err) {
			return
		}
		for d, err := range r.Keyring.Documents(ctx) {
			if !yield(d, err) {
				return
			}
		}
	}
}

// each calls do for every document, several at once. The system document comes first and alone, because its keys authenticate the
// shred records of the others. The functions that do returns, if not nil, are called one at a time. each continues if do fails
// for a document, but not if a KMS cannot be used or the documents end with an error. It returns an error if do failed for any.
func (r *Recovery) each(
	ctx context.Context, documents iter.Seq2[*envelope.Document, error], tenants int, do func(ctx context.Context, d *envelope.Document) (note func(), err error),
) (failures []Failure, err error) {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	var mu sync.Mutex
	done := 0
	for d, unread := range documents {
		if err = unread; err != nil || working.Err() != nil {
			break
		}
		work := func() error {
			note, err := do(working, d)
			mu.Lock()
			defer mu.Unlock()
			if note != nil {
				note()
			}
			if d.Owner != "" {
				done++
			}
			if r.Progress != nil {
				r.Progress(done, tenants)
			}
			if err == nil || working.Err() != nil {
				return nil
			}
			failures = append(failures, Failure{d.Owner, err})
			if kms.Unusable(err) {
				return err
			}
			return nil
		}
		if d.Owner != "" {
			group.Go(work)
		} else if err = work(); err != nil {
			break
		}
	}
	if stopped := group.Wait(); stopped != nil {
		return failures, errors.Join(stopped, err)
	}
	if err == nil && len(failures) > 0 {
		of, failed := "", len(failures)
		if failures[0].Tenant == "" { // it comes first
			of, failed = "the environment's own keys and ", failed-1
		}
		err = fmt.Errorf("recovery: it failed for %s%d of %d tenants: %w", of, failed, tenants, failures[0].Err)
	}
	return failures, errors.Join(err, ctx.Err())
}

// all makes passes over the documents in the store, until one fails for a tenant, and reports the last one. A pass returns how many
// roots or slots of a document it changed. An event with the facts is recorded before, and one with the result after; nil facts
// record none. A keyset that cannot be read is an error, before anything is changed: otherwise the rest would pass for all.
func (r *Recovery) all(
	ctx context.Context, facts audit.Facts, passes ...func(ctx context.Context, d *envelope.Document) (int, error),
) (report *Report, err error) {
	report = &Report{}
	if facts != nil {
		if err = r.record(ctx, audit.KEKRewrap, facts); err != nil {
			return nil, err
		}
		defer func() { err = r.ended(ctx, audit.KEKRewrap, report.Changed, len(report.Failures), err) }()
	}
	for d, unread := range r.documents(ctx) {
		if unread != nil {
			return report, unread
		}
		if d.Owner != "" {
			report.Tenants++
		}
	}
	for i := 0; i < len(passes) && err == nil; i++ {
		report.Failures, err = r.each(ctx, r.documents(ctx), report.Tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
			n, err := passes[i](ctx, d)
			if errors.Is(err, envelope.ErrKeyDestroyed) {
				return nil, nil // shredded
			}
			if n == 0 || err != nil {
				return nil, err
			}
			return func() { report.Changed, report.Count = report.Changed+1, report.Count+n }, nil
		})
	}
	return report, err
}

// record writes an event, before what it is about takes effect.
func (r *Recovery) record(ctx context.Context, action audit.Action, facts audit.Facts) error {
	return r.Audit.Record(ctx, audit.Event{Action: action, Operation: r.Operation, Facts: facts.With(r.Reason)})
}

// ended records the end of an operation: how many documents it changed, and for how many it failed. A tenant that
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
