package recovery

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// maxUnread is how many keysets that cannot be read an error of Backup names.
const maxUnread = 100

// Backup writes the wrapped keys of all tenants and of the environment (shared/envelope/SPEC.md section 9), each document as it
// was at one moment, and returns the number of tenants. It holds no more than one document in memory. Rotations are not part
// of it: they are found again from the keys. It returns ErrNoKeys if there is no tenant, since the operator then looks in the wrong
// place, and an error that names the keysets that cannot be read. The caller discards what was written before an error.
func (r *Recovery) Backup(ctx context.Context, w io.Writer) (tenants int, err error) {
	key, slots, err := r.Ring.NewBackupKey(ctx)
	if err != nil {
		return 0, err
	}
	defer key.Clear()
	mac := key.MAC(envelope.LabelBackup)
	out := io.MultiWriter(w, mac)
	header, err := (&envelope.Backup{Environment: r.Environment, CreatedAt: time.Now().UnixMilli(), Slots: slots}).Append(nil)
	if err == nil {
		_, err = out.Write(header)
	}
	if err == nil {
		tenants, err = r.writeDocuments(ctx, out)
	}
	if err == nil && tenants == 0 {
		err = ErrNoKeys
	}
	if err == nil {
		_, err = w.Write(mac.Sum(nil))
	}
	if err != nil {
		return 0, err
	}
	return tenants, r.record(ctx, audit.BackupCreate, audit.Facts{audit.FactDone: strconv.Itoa(tenants)})
}

// Unkept records that the file of a backup that Backup completed could not be kept, such as on a full disk, and returns
// err, joined with the error of the audit log.
func (r *Recovery) Unkept(ctx context.Context, err error) error {
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	e := audit.Event{Action: audit.BackupCreate, Operation: r.Operation, Code: codes.Of(err).Code}
	return errors.Join(err, r.Audit.Record(ctx, e))
}

// writeDocuments writes the system document first, so that a reader has its keys when it meets shred records, then those of the
// tenants, and the end.
func (r *Recovery) writeDocuments(ctx context.Context, out io.Writer) (tenants int, err error) {
	var buffer []byte
	var unread []error
	for d, err := range r.documents(ctx) {
		if err != nil {
			unread = append(unread, err)
		}
		if len(unread) == maxUnread {
			break
		}
		if len(unread) > 0 {
			continue
		}
		encoded, err := d.Append(nil)
		if err != nil {
			return 0, err
		}
		buffer = envelope.AppendBackupDocument(buffer[:0], encoded)
		if _, err = out.Write(buffer); err != nil {
			return 0, err
		}
		if d.Owner != "" {
			tenants++
		}
	}
	if err := errors.Join(unread...); err != nil {
		return 0, err
	}
	_, err = out.Write(envelope.AppendBackupDocument(nil, nil))
	return tenants, err
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
			b.Environment, r.Environment, envelope.ErrInvalid, keyring.ErrEnvironment)
	}
	key, err := r.Ring.BackupKey(ctx, &b.Backup)
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
func open(file io.ReadSeeker) (*envelope.BackupReader, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, unreadableBackup(err)
	}
	b, err := envelope.OpenBackup(file)
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
	switch {
	case errors.Is(err, envelope.ErrUnsupportedVersion):
		return fmt.Errorf("recovery: the backup is of another version: update Coffer to read it: %w", err)
	case errors.Is(err, envelope.ErrMalformed):
		return fmt.Errorf("recovery: it is cut short, or no backup: %w: %w", ErrBackup, err)
	}
	return fmt.Errorf("recovery: the backup: %w", err)
}
