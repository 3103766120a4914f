package recovery

import (
	"cmp"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/envelope/backup"
)

// maxUnread is how many keysets that cannot be read an error names.
const maxUnread = 100

// UnreadError names keysets that cannot be read. Those of all other tenants were.
type SkippedError struct {
	Count int
	Named []error // of the first ones; each names the place
}

func (e *SkippedError) Error() string {
	return fmt.Sprintf("%d keysets cannot be read and were left out:\n%s", e.Count, errors.Join(e.Named...))
}

// Unwrap returns the errors of the keysets.
func (e *SkippedError) Unwrap() []error { return e.Named }

// add notes the error of a keyset. The store has the keyset, so the error is about this one only.
func (e *SkippedError) add(err error) {
	if e.Count++; len(e.Named) < maxUnread {
		e.Named = append(e.Named, err)
	}
}

// err returns e, or nil if all keysets were read.
func (e *SkippedError) err() error {
	if e.Count == 0 {
		return nil
	}
	return e
}

// UnopenedError names tenants whose keysets were copied and do not open; the empty one is the environment's own.
type InvalidKeysetsError struct{ Failures []Failure }

func (e *InvalidKeysetsError) Error() string {
	return fmt.Sprintf("%d keysets do not open, and were copied as they are:\n%s", len(e.Failures), errors.Join(e.Unwrap()...))
}

// Unwrap returns the errors of the first keysets.
func (e *InvalidKeysetsError) Unwrap() (named []error) {
	for _, f := range e.Failures[:min(len(e.Failures), maxUnread)] {
		of := fmt.Sprintf("tenant %q", f.Tenant)
		if f.Tenant == "" {
			of = "the environment's own keys"
		}
		named = append(named, fmt.Errorf("%s: %w", of, f.Err))
	}
	return named
}

// Readable yields the documents of all tenants that can be read. Its second result returns, after the last one, an UnreadError about the
// others, or the error of the store, which ends the documents.
func SkipUnreadable(documents iter.Seq2[*envelope.Document, error]) (iter.Seq[*envelope.Document], func() error) {
	unread, failed := &SkippedError{}, error(nil)
	return func(yield func(*envelope.Document) bool) {
		for d, err := range documents {
			switch {
			case keyring.IsRejected(err):
				unread.add(err)
			case err != nil:
				failed = err
				return
			case !yield(d):
				return
			}
		}
	}, func() error { return cmp.Or(failed, unread.err()) }
}

// Backup writes the wrapped keys of all tenants and of the environment (shared/envelope/SPEC.md section 9), each document as it
// was at one moment, and returns the number of tenants. It holds no more than one document in memory. Rotations are not part
// of it: they are found again from the keys. create makes the file, which fill writes; it must leave no file if fill fails. Backup
// returns ErrNoKeys if the store has no tenant, since the operator then looks in the wrong place. Keysets that cannot be read are left
// out, and Backup then returns an UnreadError, with a file if tenants is not 0. When the file is there, Backup has the KEKs open all
// keysets in the store. It returns an UnopenedError about those that do not open, and the error of a KEK that does not answer; the file
// has these keysets.
func (r *Recovery) Backup(ctx context.Context, create func(fill func(w io.Writer) error) error) (tenants int, err error) {
	if err := r.record(ctx, audit.BackupCreate, audit.Facts{audit.FactPhase: audit.PhaseBegin}); err != nil {
		return 0, err
	}
	var unread error
	err = create(func(w io.Writer) error {
		tenants, unread, err = r.write(ctx, w)
		return err
	})
	if err != nil {
		return 0, r.ended(ctx, audit.BackupCreate, 0, failedOf(unread), cmp.Or(err, unread))
	}
	failures, err := r.openStored(ctx, tenants)
	return tenants, r.ended(ctx, audit.BackupCreate, tenants, failedOf(unread)+len(failures), errors.Join(unread, err))
}

// failedOf returns how many keysets an error says were left out.
func failedOf(unread error) int {
	if e := (*SkippedError)(nil); errors.As(unread, &e) {
		return e.Count
	}
	return 0
}

// openStored has the KEKs open the keysets in the store that can be read. It returns the failures, with an UnopenedError about keysets
// that do not open, joined with the error of the store or of a KEK if that ended it early.
func (r *Recovery) openStored(ctx context.Context, tenants int) ([]Failure, error) {
	documents, left := SkipUnreadable(r.documents(ctx))
	var ended error // the error of the store
	failures, err := r.each(ctx, func(yield func(*envelope.Document, error) bool) {
		for d := range documents {
			if !yield(d, nil) {
				return
			}
		}
		if err := left(); err != nil && !errors.As(err, new(*SkippedError)) {
			ended = err
			yield(nil, err)
		}
	}, tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
		_, _, err := r.Keyring.VerifyDocument(ctx, d)
		return nil, err
	})
	var unopened error
	if of := slices.DeleteFunc(slices.Clone(failures), func(f Failure) bool { return kms.Unusable(f.Err) }); len(of) > 0 {
		unopened = &InvalidKeysetsError{of}
	}
	if ended != nil || kms.Unusable(err) || ctx.Err() != nil {
		err = fmt.Errorf("recovery: the keysets were copied, but not all of them were opened: %w", err)
		return failures, errors.Join(err, unopened)
	}
	return failures, unopened
}

// write writes the system document first, so that a reader has its keys when it meets shred records.
func (r *Recovery) write(ctx context.Context, w io.Writer) (tenants int, unread, err error) {
	key, slots, err := r.Keyring.NewBackupKey(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer key.Clear()
	mac := key.MAC(envelope.LabelBackup)
	out := io.MultiWriter(w, mac)
	send := func(part []byte, err error) error {
		if err == nil {
			_, err = out.Write(part)
		}
		return err
	}
	if err := send((&envelope.Backup{Environment: r.Environment, CreatedAt: time.Now().UnixMilli(), Slots: slots}).Append(nil)); err != nil {
		return 0, nil, err
	}
	sendDocument := func(d *envelope.Document) error {
		encoded, err := d.Append(nil)
		return send(envelope.AppendBackupDocument(nil, encoded), err)
	}
	system, err := r.Keyring.OwnerDocument(ctx, "") // without which the others cannot be verified
	if err == nil {
		err = sendDocument(system)
	}
	if err != nil && !errors.Is(err, keyring.ErrNoTenant) {
		return 0, nil, err
	}
	documents, left := SkipUnreadable(r.Keyring.Documents(ctx))
	for d := range documents {
		if err := sendDocument(d); err != nil {
			return 0, nil, err
		}
		tenants++
	}
	if unread = left(); unread != nil && (tenants == 0 || !errors.As(unread, new(*SkippedError))) {
		return 0, nil, unread
	}
	if tenants == 0 {
		return 0, nil, ErrNoKeys
	}
	err = send(envelope.AppendBackupDocument(nil, nil), nil)
	if err == nil {
		_, err = w.Write(mac.Sum(nil))
	}
	return tenants, unread, err
}

// verify reads a file to its end and checks that it is whole and of this environment. It returns when the backup was made and how
// many tenants it has, and calls seen with each owner. It returns ErrBackup with the reason.
func (r *Recovery) verify(ctx context.Context, file io.ReadSeeker, seen func(owner string)) (created time.Time, tenants int, err error) {
	b, err := open(file)
	if err != nil {
		return created, 0, err
	}
	if b.Environment != r.Environment {
		return created, 0, fmt.Errorf("recovery: the backup is of environment %q, this is %q: %w: %w",
			b.Environment, r.Environment, envelope.ErrInvalid, keyring.ErrWrongEnvironment)
	}
	key, err := r.Keyring.BackupKey(ctx, &b.Backup)
	if errors.Is(err, envelope.ErrAuthentication) {
		err = fmt.Errorf("it was altered: %w: %w", ErrBackup, err)
	}
	if err != nil {
		return created, 0, fmt.Errorf("recovery: the backup's key: %w", err)
	}
	defer key.Clear()
	mac := key.MAC(envelope.LabelBackup)
	b.Tee(mac)
	d, err := b.Next()
	for ; err == nil; d, err = b.Next() {
		if d.Owner != "" {
			tenants++
		}
		seen(d.Owner)
	}
	want := [envelope.MACSize]byte{}
	if err == io.EOF {
		want, err = b.MAC()
	}
	if err != nil {
		return created, 0, unreadableBackup(err)
	}
	if !hmac.Equal(mac.Sum(nil), want[:]) {
		return created, 0, fmt.Errorf("recovery: it was altered, or put together from several: %w", ErrBackup)
	}
	return time.UnixMilli(b.CreatedAt), tenants, nil
}

// open reads the header of a file.
func open(file io.ReadSeeker) (*backup.Reader, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, unreadableBackup(err)
	}
	b, err := backup.Open(file)
	if err != nil {
		return nil, unreadableBackup(err)
	}
	return b, nil
}

// documents yields the documents of a file that was verified before; the system document is the first, if there is one.
func documents(file io.ReadSeeker) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		b, err := open(file)
		for err == nil {
			var d *envelope.Document
			if d, err = b.Next(); err == nil && !yield(d, nil) {
				return
			}
		}
		if err != io.EOF {
			yield(nil, unreadableBackup(err))
		}
	}
}

func unreadableBackup(err error) error {
	if errors.Is(err, envelope.ErrMalformed) {
		return fmt.Errorf("recovery: it is cut short, or no backup: %w: %w", ErrBackup, err)
	}
	return fmt.Errorf("recovery: the backup: %w", err)
}
