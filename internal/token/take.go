package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore"
)

const (
	// clockSkew is how far the clocks of two servers may be apart. The removal of a document is not a fault if its token expires within it:
	// a server whose clock is ahead deleted it.
	clockSkew = time.Hour
	// maxReported is how many documents are reported one by one in a look. One event has the number of the others.
	maxReported = 20
)

// The states of a document that is not as it was written, as events and log lines name them.
const (
	altered  = "altered"  // it does not authenticate
	returned = "returned" // it is an earlier one of a token that was revoked
	missing  = "missing"  // it was removed
)

// errOvertaken reports a document that another process changed in the meantime.
var errOvertaken = errors.New("token: the document changed while it was restored")

// adopt takes a document that this process wrote.
func (t *Authenticator) adopt(ctx context.Context, name string, content []byte) {
	_ = t.take(ctx, name, content)
} // or the next look does

// take compares a document, nil if it is missing, with the token in memory. The later state holds: a token is in force, then
// revoked. So an authentic document is adopted unless it undoes a revocation, and a document that the keystore lost is written again. A document
// that does not authenticate is in force nowhere. After an error the document must be taken again.
func (t *Authenticator) take(ctx context.Context, name string, content []byte) error {
	for confirmed := false; ; confirmed = true {
		found, err := t.parse(name, content)
		if err != nil {
			return err
		}
		was, state := t.judge(name, content, found)
		switch {
		case state == "":
			return nil
		case was == nil:
			t.report(ctx, &found.Token, state)
			return nil
		case confirmed:
			return t.restore(ctx, was, state, content)
		}
		// It may have been read before this process changed it.
		if content, err = t.store.Get(ctx, keystore.Tokens, name); err != nil {
			return err
		}
	}
}

// parse returns what a document says, nil for a missing one.
func (t *Authenticator) parse(name string, content []byte) (*known, error) {
	if content == nil {
		return nil, nil
	}
	e, err := t.keys.open(name, content)
	if errors.Is(err, ErrAltered) {
		return &known{entry: entry{Token: Token{ID: name, Altered: true}}}, nil
	}
	if err != nil {
		return nil, err
	}
	return &known{entry: *e}, nil
}

// judge adopts a document, or returns what is wrong with it, and the token that must be written in its place, if any.
func (t *Authenticator) judge(name string, content []byte, found *known) (was *known, state string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was = t.byID[name]
	verified := was != nil && !was.Altered
	revoked := verified && !was.RevokedAt.IsZero()
	switch {
	case found == nil && verified && !was.Expired(t.now().Add(clockSkew)):
		return was, missing
	case found == nil:
		t.set(name, nil)
	case found.Altered && revoked:
		return was, altered
	case found.Altered:
		found.fault = sha256.Sum256(content)
		if was != nil && was.fault == found.fault {
			return nil, ""
		}
		t.set(name, found)
		return nil, altered
	case found.inForce() && revoked:
		return was, returned
	case !verified || was.Token != found.Token || was.hash != found.hash:
		t.set(name, found)
	}
	return nil, ""
}

// restore replaces a wrong or missing document by that of a token, and reports it once.
func (t *Authenticator) restore(ctx context.Context, was *known, state string, content []byte) error {
	fault := sha256.Sum256(append([]byte(state), content...))
	t.mu.Lock()
	isNew := was.fault != fault
	was.fault = fault
	t.mu.Unlock()
	if isNew {
		t.report(ctx, &was.Token, state)
	}
	document, err := t.keys.seal(ctx, &was.entry)
	if err != nil {
		return err
	}
	replaced, err := keystore.Replace(ctx, t.store, keystore.Tokens, was.ID, content, document, was.due())
	if err != nil {
		return err
	}
	if !replaced {
		return errOvertaken
	}
	t.mu.Lock()
	was.fault = [sha256.Size]byte{}
	t.mu.Unlock()
	return nil
}

// report logs and records a document that is not as it was written.
func (t *Authenticator) report(ctx context.Context, token *Token, state string) {
	code := "not_found"
	if state != missing {
		code = ErrAltered.Of
	}
	t.mu.Lock()
	t.reported++
	one := t.reported <= maxReported
	t.mu.Unlock()
	if !one {
		return
	}
	t.options.Log.ErrorContext(ctx, "a token's document in the keystore is not as it was written", "token", fmt.Sprintf("%.64q", token.ID), "state", state)
	t.record(ctx, audit.Event{Code: code, Subject: token.ID, Tenant: token.Tenant, Facts: audit.Facts{audit.FactState: state}})
}

func (t *Authenticator) record(ctx context.Context, e audit.Event) {
	e.Action, e.Operation, e.Issuer = audit.TokenAltered, "serve", identity.APIToken
	if err := t.options.Audit.Record(ctx, e); err != nil {
		t.options.Log.ErrorContext(ctx, "an altered token was not recorded", "error", err)
	}
}

// endReports reports how many documents were not reported one by one since the last call.
func (t *Authenticator) endReports(ctx context.Context) {
	t.mu.Lock()
	more := t.reported - maxReported
	t.reported = 0
	t.mu.Unlock()
	if more > 0 {
		t.options.Log.ErrorContext(ctx, "more documents of tokens are not as they were written: see coffer token list", "count", more)
		t.record(ctx, audit.Event{Code: ErrAltered.Of, Facts: audit.Facts{audit.FactFailed: strconv.Itoa(more)}})
	}
}
