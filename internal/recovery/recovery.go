// Package recovery implements an operator's work on all keysets of an environment: rewrap them by another KEK, back
// them up, prove that a backup opens, restore it, and shred a tenant.
//
// Guarantees:
//   - It never touches sealed data.
//   - A kill at any point loses no key. Every keyset changes as a whole, and every operation can be repeated.
//   - It keeps no state of its own: the slots of the keysets show the progress of a rewrap.
//   - The slots of a former KEK are retired only after the new KEK has unwrapped every root of every tenant.
//   - A backup that is cut short, altered or mixed from several is refused before anything changes.
//   - A restore merges. It removes no newer key, and brings back nothing that was shredded or destroyed.
//   - It contacts no KEK except those that the caller opened.
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

// Errors of this package. Its functions also return those of keyring, kms and envelope.
var (
	// ErrNoKeys reports that the store or a backup has no tenant of this environment.
	ErrNoKeys = &codes.Error{ErrorCode: "not_found", Message: "there are no keys of this environment: check --data, or COFFER_KEYS_REDIS_URL, and COFFER_ENVIRONMENT"}
	// ErrUnknownTenants reports that a list of shredded tenants has ids that are not in the backup.
	ErrUnknownTenants = &codes.Error{ErrorCode: "invalid_argument", Message: "an id in the list of shredded tenants is of no tenant in the backup: correct it, or take it out"}
	// ErrRewrapUnfinished reports that the former KEK is still needed.
	ErrRewrapUnfinished = &codes.Error{ErrorCode: "key_unusable", Message: "the former KEK is still needed"}
)

// Recovery works on the keysets of one environment. It is safe for concurrent use, and other processes may use the
// same keysets.
type Recovery struct {
	Keyring     *keyring.Keyring
	Store       keystore.Store // the keyring's store
	KEKs        kms.Set        // the keyring's KEKs
	Environment string         // the keyring's environment
	Audit       audit.Recorder
	Operation   string                // recorded with each event: the command, or the operation's id in the OpenAPI document
	Reason      audit.Reason          // recorded with each event: the operator's reason
	Progress    func(done, total int) // called after each tenant, by one goroutine at a time; may be nil
}

// Failure is the error of one tenant. The empty tenant is the environment's own document.
type Failure struct {
	Tenant string
	Err    error
}

// Report counts what an operation did for all tenants and the environment.
type Report struct {
	Tenants  int       // number of tenants in the store
	Changed  int       // documents that were changed
	Count    int       // roots that were wrapped or replaced, or slots that were removed
	Failures []Failure // the system document's failure comes first
}

// maxConcurrent bounds how many tenants are processed concurrently: a call of a KMS takes milliseconds, and a KMS
// limits calls per second.
const maxConcurrent = 32

// documents yields the system document, if there is one, and then those of all tenants.
func (r *Recovery) documents(ctx context.Context) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		system, err := r.Keyring.SystemDocument(ctx)
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

// forEach calls do for every document, up to maxConcurrent at a time. The system document is processed first and
// alone, because its keys verify the shred records of the others. If do returns a function, forEach calls it with a
// lock held, to add to a report. forEach continues if do fails for a document, but stops if a KMS is unusable or
// documents yields an error. It returns an error if any document failed.
func (r *Recovery) forEach(
	ctx context.Context, documents iter.Seq2[*envelope.Document, error], tenants int, do func(ctx context.Context, d *envelope.Document) (report func(), err error),
) (failures []Failure, err error) {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrent)
	var mu sync.Mutex
	done := 0
	for d, unread := range documents {
		if err = unread; err != nil || working.Err() != nil {
			break
		}
		work := func() error {
			report, err := do(working, d)
			mu.Lock()
			defer mu.Unlock()
			if report != nil {
				report()
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
		system, failed := "", len(failures)
		if failures[0].Tenant == "" {
			system, failed = "the environment's own keys and ", failed-1
		}
		err = fmt.Errorf("recovery: it failed for %s%d of %d tenants: %w", system, failed, tenants, failures[0].Err)
	}
	return failures, errors.Join(err, ctx.Err())
}

// runSteps runs each step for all documents in the store, and stops after a step that failed for a document. A step
// returns how many roots or slots it changed. The report has the failures of the last step. runSteps records an event
// with the facts before, and one with the result after; nil facts record no events. If a keyset cannot be read,
// runSteps returns an error before anything changes: a success would otherwise seem to include that keyset.
func (r *Recovery) runSteps(
	ctx context.Context, facts audit.Facts, steps ...func(ctx context.Context, d *envelope.Document) (int, error),
) (report *Report, err error) {
	report = &Report{}
	if facts != nil {
		if err = r.record(ctx, audit.KEKRewrap, facts); err != nil {
			return nil, err
		}
		defer func() { err = r.recordEnd(ctx, audit.KEKRewrap, report.Changed, len(report.Failures), err) }()
	}
	for d, unread := range r.documents(ctx) {
		if unread != nil {
			return report, unread
		}
		if d.Owner != "" {
			report.Tenants++
		}
	}
	for i := 0; i < len(steps) && err == nil; i++ {
		report.Failures, err = r.forEach(ctx, r.documents(ctx), report.Tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
			n, err := steps[i](ctx, d)
			if errors.Is(err, envelope.ErrKeyDestroyed) {
				return nil, nil // the tenant was shredded
			}
			if n == 0 || err != nil {
				return nil, err
			}
			return func() { report.Changed, report.Count = report.Changed+1, report.Count+n }, nil
		})
	}
	return report, err
}

// record records an event before its operation takes effect.
func (r *Recovery) record(ctx context.Context, action audit.Action, facts audit.Facts) error {
	return r.Audit.Record(ctx, audit.Event{Action: action, Operation: r.Operation, Facts: facts.With(r.Reason)})
}

// recordEnd records the end of an operation: for how many documents it succeeded and failed. A tenant that needed no
// change counts as neither. recordEnd returns err, joined with the error of the audit log.
func (r *Recovery) recordEnd(ctx context.Context, action audit.Action, done, failed int, err error) error {
	e := audit.Event{Action: action, Operation: r.Operation, Facts: audit.Facts{
		audit.FactPhase: audit.PhaseEnd, audit.FactDone: strconv.Itoa(done), audit.FactFailed: strconv.Itoa(failed),
	}}
	if err != nil {
		e.Code = codes.Of(err).Code
	}
	return errors.Join(err, r.Audit.Record(context.WithoutCancel(ctx), e))
}
