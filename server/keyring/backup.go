package keyring

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/envelope/backup"
)

// ErrBackup reports a file that is not a complete, unaltered backup made under the configured KEKs.
var ErrBackup = &codes.Error{ErrorCode: "authentication_failed", Message: "the file is not a whole backup of this environment's keys"}

// Backup writes a backup of the keysets of all tenants and of the environment to w, and returns the number of tenants
// (shared/envelope/SPEC.md section 9). A backup has wrapped keys only: a restore needs the KEKs. Each
// document is copied as it was at one moment; at most one is in memory.
//
// A keyset that cannot be read is left out and passed to skip; see [IsRejected]. If skip is nil, Backup fails at such
// a keyset. After an error the output is incomplete, and [Keyring.OpenBackup] refuses it. Backup does not close or
// sync w.
func (r *Keyring) Backup(ctx context.Context, w io.Writer, skip func(error)) (tenants int, err error) {
	key, slots, err := r.newBackupKey(ctx)
	if err != nil {
		return 0, err
	}
	defer key.Clear()
	mac := key.MAC(envelope.LabelBackup)
	out := io.MultiWriter(w, mac)
	write := func(part []byte, err error) error {
		if err == nil {
			_, err = out.Write(part)
		}
		return err
	}
	writeDocument := func(d *envelope.Document) error {
		encoded, err := d.Append(nil)
		return write(envelope.AppendBackupDocument(nil, encoded), err)
	}
	header := envelope.Backup{Environment: r.environment, CreatedAt: now(), Slots: slots}
	if err := write(header.Append(nil)); err != nil {
		return 0, err
	}
	system, err := r.SystemDocument(ctx) // first, because its keys verify the shred records of the others
	if err == nil {
		err = writeDocument(system)
	}
	if err != nil && !errors.Is(err, ErrNoTenant) {
		return 0, err
	}
	for d, err := range r.Documents(ctx) {
		switch {
		case skip != nil && IsRejected(err):
			skip(err)
			continue
		case err != nil:
			return 0, err
		}
		if err := writeDocument(d); err != nil {
			return 0, err
		}
		tenants++
	}
	if err := write(envelope.AppendBackupDocument(nil, nil), nil); err != nil {
		return 0, err
	}
	_, err = w.Write(mac.Sum(nil))
	return tenants, err
}

// newBackupKey draws the key that authenticates a backup, and wraps it by each KEK.
func (r *Keyring) newBackupKey(ctx context.Context) (*secret.Key, []envelope.Slot, error) {
	key, d := secret.New(), (&envelope.Backup{Environment: r.environment}).SlotDocument()
	root := envelope.Root{Generation: 1, ID: key.ID()}
	e := &Edit{d, r, roots{root: {key: key}}}
	for _, kek := range r.keks.All() {
		if err := e.WrapRoot(ctx, root, kek); err != nil {
			return nil, nil, err
		}
	}
	return key, e.Slots, e.Sign(authenticator(e.opened, nil))
}

// BackupFile is a backup that was verified.
type BackupFile struct {
	CreatedAt time.Time
	Tenants   int // number of tenants
	file      io.ReadSeeker
}

// OpenBackup reads a backup to its end and verifies it: it is complete, unaltered and of this environment. The file
// stays the caller's, and must not change while the BackupFile is in use. OpenBackup calls the KEKs once. It compares
// the KEK URLs in the file with those of its own KEKs, and contacts no other. It returns ErrBackup,
// ErrWrongEnvironment, kms.ErrWrongKey if no configured KEK made the backup, or the error of a KEK.
func (r *Keyring) OpenBackup(ctx context.Context, file io.ReadSeeker) (*BackupFile, error) {
	b, err := readHeader(file)
	if err != nil {
		return nil, err
	}
	if b.Environment != r.environment {
		return nil, fmt.Errorf("keyring: the backup is of environment %q, this is %q: %w: %w", b.Environment, r.environment, envelope.ErrInvalid, ErrWrongEnvironment)
	}
	key, err := r.unwrapBackupKey(ctx, &b.Backup)
	if errors.Is(err, envelope.ErrAuthentication) {
		err = fmt.Errorf("it was altered: %w: %w", ErrBackup, err)
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: the backup's key: %w", err)
	}
	defer key.Clear()
	opened := &BackupFile{CreatedAt: time.UnixMilli(b.CreatedAt), file: file}
	mac := key.MAC(envelope.LabelBackup)
	b.Tee(mac)
	d, err := b.Next()
	for ; err == nil; d, err = b.Next() {
		if d.Owner != systemID {
			opened.Tenants++
		}
	}
	expected := [envelope.MACSize]byte{}
	if err == io.EOF {
		expected, err = b.MAC()
	}
	if err != nil {
		return nil, unreadableBackup(err)
	}
	if !hmac.Equal(mac.Sum(nil), expected[:]) {
		return nil, fmt.Errorf("keyring: the backup was altered, or is mixed from several: %w", ErrBackup)
	}
	return opened, nil
}

// unwrapBackupKey returns the key that authenticates a backup. It returns kms.ErrWrongKey if no configured KEK
// wrapped the key, and envelope.ErrAuthentication if a slot was altered.
func (r *Keyring) unwrapBackupKey(ctx context.Context, b *envelope.Backup) (*secret.Key, error) {
	d := b.SlotDocument()
	opened, err := r.unwrapRoots(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	return opened[b.Slots[0].Root].key, d.Verify(authenticator(opened, nil))
}

// Documents yields the keyset documents of the backup, for [Keyring.RestoreDocument]. The system document is the
// first, if the backup has one: it must be restored before the others. Documents reads the file from its start; an
// error is the last element. Iterate over one sequence at a time, because all share the position in the file.
func (b *BackupFile) Documents() iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		reader, err := readHeader(b.file)
		for err == nil {
			var d *envelope.Document
			if d, err = reader.Next(); err == nil && !yield(d, nil) {
				return
			}
		}
		if err != io.EOF {
			yield(nil, unreadableBackup(err))
		}
	}
}

// readHeader reads the header of a file, from its start.
func readHeader(file io.ReadSeeker) (*backup.Reader, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, unreadableBackup(err)
	}
	b, err := backup.Open(file)
	if err != nil {
		return nil, unreadableBackup(err)
	}
	return b, nil
}

func unreadableBackup(err error) error {
	if errors.Is(err, envelope.ErrMalformed) {
		return fmt.Errorf("keyring: the file is cut short or is not a backup: %w: %w", ErrBackup, err)
	}
	return fmt.Errorf("keyring: read the backup: %w", err)
}
