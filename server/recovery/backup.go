package recovery

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Backup gives a file of all tenants' wrapped keys (SPEC.md section 9.8), each tenant's as it was at one
// moment, and the number of tenants. What is known of rotations is not in it: it is found again from the
// keys. It returns ErrNoKeys where there is none: who backs up nothing looks in the wrong place. Where
// keysets cannot be read it makes none, and the error names each.
func (r *Recovery) Backup(ctx context.Context) (file []byte, tenants int, err error) {
	documents := map[string][]byte{}
	var unread []error
	for d, err := range r.Ring.Documents(ctx) {
		if err == nil {
			documents[d.Owner], err = d.Append(nil)
		}
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		if err != nil {
			unread = append(unread, err)
		}
	}
	if len(unread) > 0 {
		return nil, 0, errors.Join(unread...)
	}
	if len(documents) == 0 {
		return nil, 0, ErrNoKeys
	}
	key, slots, err := keyring.NewBackupKey(ctx, r.KEKs, r.Environment)
	if err != nil {
		return nil, 0, err
	}
	defer key.Clear()
	b := envelope.Backup{Environment: r.Environment, CreatedAt: time.Now().UnixMilli(), Slots: slots}
	for _, owner := range slices.Sorted(maps.Keys(documents)) {
		b.Documents = append(b.Documents, documents[owner])
	}
	if file, err = b.AppendContent(nil); err != nil {
		return nil, 0, err
	}
	mac := key.BackupMAC(file)
	facts := audit.Facts{audit.FactDone: strconv.Itoa(len(b.Documents))}
	return append(file, mac[:]...), len(b.Documents), r.record(ctx, audit.BackupCreate, "", facts)
}

// opened is a backup that was found whole.
type opened struct {
	created   time.Time
	documents []*envelope.Document
}

// open checks a file and gives what is in it. It returns ErrBackup with the reason.
func (r *Recovery) open(ctx context.Context, file []byte) (*opened, error) {
	b, content, err := envelope.ParseBackup(file)
	switch {
	case errors.Is(err, envelope.ErrUnsupportedVersion):
		return nil, fmt.Errorf("recovery: the backup is of another version: update Coffer to read it: %w", err)
	case err != nil:
		return nil, fmt.Errorf("recovery: it is cut short, or no backup: %w: %w", ErrBackup, err)
	case b.Environment != r.Environment:
		return nil, fmt.Errorf("recovery: the backup is of environment %q, this is %q: %w", b.Environment, r.Environment, keyring.ErrEnvironment)
	}
	key, err := keyring.BackupKey(ctx, r.KEKs, b)
	switch {
	case errors.Is(err, kms.ErrWrongKey):
		return nil, fmt.Errorf("recovery: the backup was made under the KEK %q, not the configured %q: %w", b.Slots[0].URL, r.KEKs.All()[0].URL(), err)
	case errors.Is(err, envelope.ErrAuthentication):
		return nil, fmt.Errorf("recovery: it was altered: %w: %w", ErrBackup, err)
	case err != nil:
		return nil, fmt.Errorf("recovery: the backup's key: %w", err)
	}
	defer key.Clear()
	if mac := key.BackupMAC(content); !hmac.Equal(mac[:], b.MAC[:]) {
		return nil, fmt.Errorf("recovery: it was altered, or put together from several: %w", ErrBackup)
	}
	o := &opened{created: time.UnixMilli(b.CreatedAt)}
	for _, encoded := range b.Documents {
		d, err := envelope.ParseDocument(bytes.Clone(encoded))
		if err != nil {
			return nil, err
		}
		o.documents = append(o.documents, d)
	}
	return o, nil
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

// Drill proves that a backup opens: it has the KEKs unwrap every root, and these every key, and touches no
// store. It returns ErrBackup, and an error where anything did not open, which the Drill names.
func (r *Recovery) Drill(ctx context.Context, file []byte) (*Drill, error) {
	drill, err := r.drill(ctx, file)
	if drill == nil {
		return nil, r.ended(ctx, audit.BackupDrill, 0, 0, err)
	}
	return drill, r.ended(ctx, audit.BackupDrill, drill.Tenants-len(drill.Failures), len(drill.Failures), err)
}

func (r *Recovery) drill(ctx context.Context, file []byte) (*Drill, error) {
	b, err := r.open(ctx, file)
	if err == nil && len(b.documents) == 0 {
		err = ErrNoKeys
	}
	if err != nil {
		return nil, err
	}
	drill, proofs := &Drill{Created: b.created, Tenants: len(b.documents)}, make(chan keyring.Proof, len(b.documents))
	drill.Failures, err = each(ctx, r, b.documents, func(d *envelope.Document) string { return d.Owner }, func(ctx context.Context, d *envelope.Document) error {
		proof, err := keyring.Prove(ctx, d, r.KEKs, time.Time{})
		if err != nil {
			return err
		}
		proofs <- proof
		return whole(&proof)
	})
	if err != nil {
		return nil, err
	}
	close(proofs)
	for proof := range proofs {
		drill.Roots, drill.Keys = drill.Roots+proof.Roots, drill.Keys+proof.Keys
	}
	for _, d := range b.documents {
		if d.Shredded() {
			drill.Shredded++
		}
	}
	if len(drill.Failures) > 0 {
		return drill, fmt.Errorf("recovery: of %d tenants something does not open: %w", len(drill.Failures), ErrDamaged)
	}
	return drill, nil
}

// whole says what of a document did not open.
func whole(p *keyring.Proof) error {
	switch {
	case len(p.Missing) > 0:
		return fmt.Errorf("recovery: %d roots are not opened by the configured KEK, or were altered; the first is %x: %w", len(p.Missing), p.Missing[0][:8], ErrDamaged)
	case len(p.Damaged) > 0:
		return fmt.Errorf("recovery: %d keys were altered; the first is %x: %w", len(p.Damaged), p.Damaged[0][:8], ErrDamaged)
	}
	return nil
}
