package token

import (
	"context"
	"time"
)

// Load returns an Authenticator without goroutines. The first call of Look reads all tokens; each later one, the
// changes.
func Load(o Options) *Authenticator { return newAuthenticator(o) }

func (t *Authenticator) Poll(ctx context.Context) error { return t.poll(ctx) }

// Scan reads all documents, as a server does every few minutes.
func (t *Authenticator) Scan(ctx context.Context) error {
	t.follower.nextScan = time.Time{}
	for first := true; first || t.follower.scanning; first = false {
		if err := t.poll(ctx); err != nil {
			return err
		}
	}
	return t.poll(ctx)
}

// Retry reads the documents that could not be read.
func (t *Authenticator) Retry(ctx context.Context) error {
	t.follower.polls = retryAfterPolls - 1
	return t.poll(ctx)
}

func (t *Authenticator) Expire(ctx context.Context)   { t.deleteExpired(ctx) }
func (t *Authenticator) SaveUses(ctx context.Context) { t.saveUses(ctx, 0) }

// SetClock sets the clock. It must be called before the registry is used.
func (r *Registry) SetClock(now func() time.Time) { r.now = now }

// Age makes the last complete poll older.
func (t *Authenticator) AgeLastPoll(by time.Duration) {
	f := *t.lastPoll.Load()
	f.at = f.at.Add(-by)
	t.lastPoll.Store(&f)
}

const (
	Prefix     = tokenPrefix
	StaleAfter = staleAfter
	ClockSkew  = missingTokenTolerance
)

// Record and Parse encode and parse records.
func Record(t Token, hash [32]byte) []byte { return (&storedToken{t, hash}).record() }

func Parse(text []byte) (Token, [32]byte, error) {
	e, err := parseRecord(text)
	if err != nil {
		return Token{}, [32]byte{}, err
	}
	return e.Token, e.hash, nil
}

// ErrAltered reports that a token's document does not authenticate.
var ErrAltered = errAltered
