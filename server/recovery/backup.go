package recovery

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal/secret"
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
	key, slots, err := keyring.NewBackupKey(ctx, r.KEKs, r.Environment)
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
	if err != nil {
		return 0, err
	}
	if tenants, err = r.writeDocuments(ctx, out); err != nil {
		return 0, err
	}
	if tenants == 0 {
		return 0, ErrNoKeys
	}
	if _, err = w.Write(mac.Sum(nil)); err != nil {
		return 0, err
	}
	return tenants, r.record(ctx, audit.BackupCreate, "", audit.Facts{audit.FactDone: strconv.Itoa(tenants)})
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
	write := func(d *envelope.Document) error {
		encoded, err := d.Append(nil)
		if err != nil {
			return err
		}
		buffer = envelope.AppendBackupDocument(buffer[:0], encoded)
		_, err = out.Write(buffer)
		return err
	}
	system, err := r.Ring.OwnerDocument(ctx, "")
	if err == nil {
		err = write(system)
	}
	if err != nil && !errors.Is(err, keyring.ErrNoTenant) {
		return 0, err
	}
	var unread []error
	for d, err := range r.Ring.Documents(ctx) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		switch {
		case err != nil:
			if unread = append(unread, err); len(unread) == maxUnread {
				return 0, errors.Join(unread...)
			}
		case len(unread) == 0:
			if err := write(d); err != nil {
				return 0, err
			}
			tenants++
		}
	}
	if len(unread) > 0 {
		return 0, errors.Join(unread...)
	}
	_, err = out.Write(envelope.AppendBackupDocument(nil, nil))
	return tenants, err
}

// proof is a backup that was found whole.
type proof struct {
	created time.Time
	all     int // documents
	tenants int
}

// verify reads a file to its end and checks that it is whole and of this environment. seen is told each owner. It returns ErrBackup
// with the reason.
func (r *Recovery) verify(ctx context.Context, file io.ReadSeeker, seen func(owner string)) (*proof, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("recovery: the backup: %w", err)
	}
	b, key, err := r.openBackup(ctx, file)
	if err != nil {
		return nil, err
	}
	defer key.Clear()
	mac := key.MAC(envelope.LabelBackup)
	b.Tee(mac)
	p := &proof{created: time.UnixMilli(b.CreatedAt)}
	for {
		d, err := b.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, unreadableBackup(err)
		}
		if p.all++; d.Owner != "" {
			p.tenants++
		}
		seen(d.Owner)
	}
	want, err := b.MAC()
	if err != nil {
		return nil, unreadableBackup(err)
	}
	if !hmac.Equal(mac.Sum(nil), want[:]) {
		return nil, fmt.Errorf("recovery: it was altered, or put together from several: %w", ErrBackup)
	}
	return p, nil
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

// openBackup reads the header of a file and has the KEKs unwrap its key.
func (r *Recovery) openBackup(ctx context.Context, file io.Reader) (*envelope.BackupReader, *secret.Key, error) {
	b, err := envelope.OpenBackup(file)
	switch {
	case err != nil:
		return nil, nil, unreadableBackup(err)
	case b.Environment != r.Environment:
		return nil, nil, fmt.Errorf("recovery: the backup is of environment %q, this is %q: %w: %w", b.Environment, r.Environment, envelope.ErrInvalid, keyring.ErrEnvironment)
	}
	key, err := keyring.BackupKey(ctx, r.KEKs, &b.Backup)
	switch {
	case errors.Is(err, kms.ErrWrongKey):
		return nil, nil, fmt.Errorf("recovery: the backup was made under the KEK %q, not the configured %q: %w", b.Slots[0].URL, r.KEKs.All()[0].URL(), err)
	case errors.Is(err, envelope.ErrAuthentication):
		return nil, nil, fmt.Errorf("recovery: it was altered: %w: %w", ErrBackup, err)
	case err != nil:
		return nil, nil, fmt.Errorf("recovery: the backup's key: %w", err)
	}
	return b, key, nil
}

// documents yields the documents of a file that was verified before.
func documents(file io.ReadSeeker) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		_, err := file.Seek(0, io.SeekStart)
		var b *envelope.BackupReader
		if err == nil {
			b, err = envelope.OpenBackup(file)
		}
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

// Drill is what a backup was seen to open.
type Drill struct {
	Created  time.Time
	Tenants  int
	Shredded int // of the tenants
	Roots    int
	Keys     int
	Failures []Failure // tenants of which something did not open
}

// ErrDamaged says that something in a keyset does not open, though its KEK is there.
var ErrDamaged = keyring.ErrUnreadable

// Drill proves that a backup opens: it has the KEKs unwrap every root, checks every record under them and unwraps every key. It
// touches no store. It returns ErrBackup, and an error if anything did not open, which the Drill names.
func (r *Recovery) Drill(ctx context.Context, file io.ReadSeeker) (*Drill, error) {
	drill, err := r.drill(ctx, file)
	if drill == nil {
		return nil, r.ended(ctx, audit.BackupDrill, 0, 0, err)
	}
	return drill, r.ended(ctx, audit.BackupDrill, drill.Tenants-len(drill.Failures), len(drill.Failures), err)
}

func (r *Recovery) drill(ctx context.Context, file io.ReadSeeker) (*Drill, error) {
	p, err := r.verify(ctx, file, func(string) {})
	if err == nil && p.tenants == 0 {
		err = ErrNoKeys
	}
	if err != nil {
		return nil, err
	}
	drill := &Drill{Created: p.created, Tenants: p.tenants}
	var mu sync.Mutex
	drill.Failures, err = each(ctx, r, documents(file), p.all, ownerOf, func(ctx context.Context, d *envelope.Document) error {
		proof, err := keyring.Prove(ctx, d, r.KEKs, time.Time{})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		drill.Roots, drill.Keys = drill.Roots+proof.Roots, drill.Keys+proof.Keys
		if d.Shredded() {
			drill.Shredded++
		}
		return whole(&proof)
	})
	if err != nil {
		return nil, err
	}
	if len(drill.Failures) > 0 {
		return drill, fmt.Errorf("recovery: of %d tenants something does not open: %w", len(drill.Failures), ErrDamaged)
	}
	return drill, nil
}

func ownerOf(d *envelope.Document) string { return d.Owner }

// whole says what of a document did not open.
func whole(p *keyring.Proof) error {
	switch {
	case len(p.Missing) > 0:
		return fmt.Errorf("recovery: %d roots are not opened by the configured KEK, or were altered; the first is %x: %w", len(p.Missing), p.Missing[0][:8], ErrDamaged)
	case len(p.Damaged) > 0:
		return fmt.Errorf("recovery: %d keys were altered; the first is %x: %w", len(p.Damaged), p.Damaged[0][:8], ErrDamaged)
	case p.Altered:
		return fmt.Errorf("recovery: a slot, key or primary was altered: %w", ErrDamaged)
	}
	return nil
}
