package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// maxNamedKeysets is how many keysets an error names; it only counts the others.
const maxNamedKeysets = 100

// SkippedError reports keysets that could not be read and were skipped. All others were read.
type SkippedError struct {
	Count int
	Named []error // the errors of the first 100 keysets; each names the keyset's location
}

// Error implements error.
func (e *SkippedError) Error() string {
	return fmt.Sprintf("%d keysets cannot be read and were left out:\n%s", e.Count, errors.Join(e.Named...))
}

// Unwrap returns the errors of the first keysets.
func (e *SkippedError) Unwrap() []error { return e.Named }

// add adds the error of a keyset.
func (e *SkippedError) add(err error) {
	if e.Count++; len(e.Named) < maxNamedKeysets {
		e.Named = append(e.Named, err)
	}
}

// err returns e, or nil if no keyset was skipped.
func (e *SkippedError) err() error {
	if e.Count == 0 {
		return nil
	}
	return e
}

// InvalidKeysetsError reports keysets that a backup has and that do not open.
type InvalidKeysetsError struct{ Failures []Failure }

// Error implements error.
func (e *InvalidKeysetsError) Error() string {
	return fmt.Sprintf("%d keysets do not open, and were copied as they are:\n%s", len(e.Failures), errors.Join(e.Unwrap()...))
}

// Unwrap returns the errors of the first keysets.
func (e *InvalidKeysetsError) Unwrap() (named []error) {
	for _, f := range e.Failures[:min(len(e.Failures), maxNamedKeysets)] {
		owner := fmt.Sprintf("tenant %q", f.Tenant)
		if f.Tenant == "" {
			owner = "the environment's own keys"
		}
		named = append(named, fmt.Errorf("%s: %w", owner, f.Err))
	}
	return named
}

// SkipUnreadable yields the documents that can be read. Call the returned function after the last one: it returns a
// SkippedError if documents were skipped, or the error of the store, which ends the sequence.
func SkipUnreadable(documents iter.Seq2[*envelope.Document, error]) (iter.Seq[*envelope.Document], func() error) {
	skipped, failed := &SkippedError{}, error(nil)
	return func(yield func(*envelope.Document) bool) {
		for d, err := range documents {
			switch {
			case keyring.IsRejected(err):
				skipped.add(err)
			case err != nil:
				failed = err
				return
			case !yield(d):
				return
			}
		}
	}, func() error { return cmp.Or(failed, skipped.err()) }
}

// Backup makes a backup of all keysets, verifies the keysets in the store, and returns the number of tenants in the
// backup. It does not back up the state of rotations, which is derived from the keys again. create makes the file by
// calling fill with a writer; if fill fails, create must remove the file.
//
// Backup returns ErrNoKeys if the store has no tenant, because the operator then probably named the wrong store.
// Keysets that cannot be read are left out and reported by a SkippedError. If none can be read, create gets an error.
// After the file is complete, the KEKs open all keysets in the store. Backup returns an InvalidKeysetsError for those
// that do not open, and the error of a KEK that does not answer; the file is complete in both cases.
func (r *Recovery) Backup(ctx context.Context, create func(fill func(w io.Writer) error) error) (tenants int, err error) {
	if err := r.record(ctx, audit.BackupCreate, audit.Facts{audit.FactPhase: audit.PhaseBegin}); err != nil {
		return 0, err
	}
	skipped := &SkippedError{}
	err = create(func(w io.Writer) error {
		if tenants, err = r.Keyring.Backup(ctx, w, skipped.add); err == nil && tenants == 0 {
			err = cmp.Or(skipped.err(), error(ErrNoKeys))
		}
		return err
	})
	if err != nil {
		return 0, r.recordEnd(ctx, audit.BackupCreate, 0, skipped.Count, err)
	}
	failures, err := r.verifyStored(ctx, tenants)
	return tenants, r.recordEnd(ctx, audit.BackupCreate, tenants, skipped.Count+len(failures), errors.Join(skipped.err(), err))
}

// verifyStored has the KEKs open all readable keysets in the store. It returns the failures and an
// InvalidKeysetsError about them, joined with the error of the store or of a KEK if that ended the verification
// early.
func (r *Recovery) verifyStored(ctx context.Context, tenants int) ([]Failure, error) {
	documents, skipped := SkipUnreadable(r.documents(ctx))
	var storeErr error
	failures, err := r.forEach(ctx, func(yield func(*envelope.Document, error) bool) {
		for d := range documents {
			if !yield(d, nil) {
				return
			}
		}
		if err := skipped(); err != nil && !errors.As(err, new(*SkippedError)) {
			storeErr = err
			yield(nil, err)
		}
	}, tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
		_, _, err := r.Keyring.VerifyDocument(ctx, d)
		return nil, err
	})
	var invalid error
	if of := slices.DeleteFunc(slices.Clone(failures), func(f Failure) bool { return kms.Unusable(f.Err) }); len(of) > 0 {
		invalid = &InvalidKeysetsError{of}
	}
	if storeErr != nil || kms.Unusable(err) || ctx.Err() != nil {
		err = fmt.Errorf("recovery: the keysets were copied, but not all of them were opened: %w", err)
		return failures, errors.Join(err, invalid)
	}
	return failures, invalid
}
