package recovery

import (
	"context"
	"io"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Drill is what a backup was seen to open.
type DrillReport struct {
	Created  time.Time
	Tenants  int
	Shredded int // of the tenants
	Roots    int
	Keys     int
	Failures []Failure // documents of which something did not open
}

// Drill proves that a backup opens: it has the KEKs unwrap every root, checks every record under them and unwraps every key. It
// touches no store. It returns ErrBackup, and an error if anything did not open, which the Drill names.
func (r *Recovery) Drill(ctx context.Context, file io.ReadSeeker) (*DrillReport, error) {
	drill := &DrillReport{}
	var err error
	drill.Created, drill.Tenants, err = r.verify(ctx, file, func(string) {})
	if err == nil && drill.Tenants == 0 {
		err = ErrNoKeys
	}
	if err != nil {
		return nil, r.ended(ctx, audit.BackupDrill, 0, 0, err)
	}
	opened := 0
	drill.Failures, err = r.each(ctx, documents(file), drill.Tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
		roots, keys, err := r.Keyring.VerifyDocument(ctx, d)
		return func() {
			if err == nil && d.Owner != "" {
				opened++
			}
			drill.Roots, drill.Keys = drill.Roots+roots, drill.Keys+keys
			if d.Shredded() {
				drill.Shredded++
			}
		}, err
	})
	return drill, r.ended(ctx, audit.BackupDrill, opened, len(drill.Failures), err)
}
