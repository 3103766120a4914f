package token

import (
	"context"
	"time"
)

// Load returns tokens that do nothing in the background. Look reads what changed; the first time, all tokens.
func Load(o Options) *Authenticator { return load(o) }

func (t *Authenticator) Look(ctx context.Context) error { return t.look(ctx) }

// Scan reads all documents, as a server does every few minutes.
func (t *Authenticator) Scan(ctx context.Context) error {
	t.follower.next = time.Time{}
	for first := true; first || t.follower.scanning; first = false {
		if err := t.look(ctx); err != nil {
			return err
		}
	}
	return t.look(ctx)
}

// Retry reads the documents that could not be read.
func (t *Authenticator) Retry(ctx context.Context) error {
	t.follower.looks = retryAfter - 1
	return t.look(ctx)
}

func (t *Authenticator) Expire(ctx context.Context)   { t.expire(ctx) }
func (t *Authenticator) NoteUses(ctx context.Context) { t.noteUses(ctx, 0) }

// SetClock must be called before the registry is used by others.
func (r *Registry) SetClock(now func() time.Time) { r.now = now }

// Age makes the last complete look older.
func (t *Authenticator) Age(by time.Duration) {
	f := *t.fresh.Load()
	f.at = f.at.Add(-by)
	t.fresh.Store(&f)
}

const (
	StaleAfter = staleAfter
	ClockSkew  = clockSkew
)

// Record encodes a record, and Parse parses one.
func Record(t Token, hash [32]byte) []byte { return (&entry{t, hash}).record() }

func Parse(text []byte) (Token, [32]byte, error) {
	e, err := parseRecord(text)
	if err != nil {
		return Token{}, [32]byte{}, err
	}
	return e.Token, e.hash, nil
}
