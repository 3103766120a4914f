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
	// missingTokenTolerance bounds the clock difference for missing documents: a missing document is not a fault if its
	// token expires within this time, because a server whose clock is ahead may have deleted it.
	missingTokenTolerance = time.Hour
	// maxReported is how many faulty documents are reported one by one in each poll. One event counts the others.
	maxReported = 20
)

// The faults of a document, as events and log lines name them.
const (
	stateAltered    = "altered"  // the document does not authenticate
	stateReinstated = "returned" // the document is an earlier one of a token that was revoked
	stateMissing    = "missing"  // the document was removed
)

// errConcurrentChange reports that another process changed a document while it was restored.
var errConcurrentChange = errors.New("token: the document changed while it was restored")

// applyOwn applies a document that this process wrote. If it fails, the next poll applies the document.
func (t *Authenticator) applyOwn(ctx context.Context, name string, content []byte) {
	_ = t.apply(ctx, name, content)
}

// apply updates the token in memory from its document, which is nil if it is missing. An authentic document is accepted
// unless it undoes a revocation. In that case, and if the document is missing, the document of the token in memory is
// written again. A token whose document does not authenticate is not accepted. After an error, the document must be
// applied again.
func (t *Authenticator) apply(ctx context.Context, name string, content []byte) error {
	for confirmed := false; ; confirmed = true {
		found, err := t.parseDocument(ctx, name, content)
		if err != nil {
			return err
		}
		cached, state := t.compare(name, content, found)
		switch {
		case state == "":
			return nil
		case cached == nil:
			t.reportFault(ctx, &found.Token, state)
			return nil
		case confirmed:
			return t.restore(ctx, cached, state, content)
		}
		// The content may have been read before this process changed the document.
		if content, err = t.store.Get(ctx, keystore.Tokens, name); err != nil {
			return err
		}
	}
}

// parseDocument returns the token of a document, or nil if the document is missing.
func (t *Authenticator) parseDocument(ctx context.Context, name string, content []byte) (*cachedToken, error) {
	if content == nil {
		return nil, nil
	}
	e, err := t.keys.open(ctx, name, content)
	if errors.Is(err, errAltered) {
		return &cachedToken{storedToken: storedToken{Token: Token{ID: name, Altered: true}}}, nil
	}
	if err != nil {
		return nil, err
	}
	return &cachedToken{storedToken: *e}, nil
}

// compare accepts a document, or returns its fault. If the document must be replaced, compare returns the token in
// memory.
func (t *Authenticator) compare(name string, content []byte, found *cachedToken) (cached *cachedToken, state string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cached = t.byID[name]
	verified := cached != nil && !cached.Altered
	revoked := verified && !cached.RevokedAt.IsZero()
	switch {
	case found == nil && verified && !cached.Expired(t.now().Add(missingTokenTolerance)):
		return cached, stateMissing
	case found == nil:
		t.setLocked(name, nil)
	case found.Altered && revoked:
		return cached, stateAltered
	case found.Altered:
		found.reportedFault = sha256.Sum256(content)
		if cached != nil && cached.reportedFault == found.reportedFault {
			return nil, ""
		}
		t.setLocked(name, found)
		return nil, stateAltered
	case found.inForce() && revoked:
		return cached, stateReinstated
	case !verified || cached.Token != found.Token || cached.hash != found.hash:
		t.setLocked(name, found)
	}
	return nil, ""
}

// restore replaces a faulty or missing document by that of the token in memory, and reports the fault once.
func (t *Authenticator) restore(ctx context.Context, cached *cachedToken, state string, content []byte) error {
	fault := sha256.Sum256(append([]byte(state), content...))
	t.mu.Lock()
	isNew := cached.reportedFault != fault
	cached.reportedFault = fault
	t.mu.Unlock()
	if isNew {
		t.reportFault(ctx, &cached.Token, state)
	}
	document, err := t.keys.seal(ctx, &cached.storedToken)
	if err != nil {
		return err
	}
	replaced, err := keystore.Replace(ctx, t.store, keystore.Tokens, cached.ID, content, document, cached.deleteAt())
	if err != nil {
		return err
	}
	if !replaced {
		return errConcurrentChange
	}
	t.mu.Lock()
	cached.reportedFault = [sha256.Size]byte{}
	t.mu.Unlock()
	return nil
}

// reportFault logs and records a faulty document.
func (t *Authenticator) reportFault(ctx context.Context, token *Token, state string) {
	code := "not_found"
	if state != stateMissing {
		code = errAltered.ErrorCode
	}
	t.mu.Lock()
	t.reportCount++
	one := t.reportCount <= maxReported
	t.mu.Unlock()
	if !one {
		return
	}
	t.options.Log.ErrorContext(ctx, "a token's document in the keystore was altered or removed", "token", fmt.Sprintf("%.64q", token.ID), "state", state)
	t.record(ctx, audit.Event{Code: code, Subject: token.ID, Tenant: token.Tenant, Facts: audit.Facts{audit.FactState: state}})
}

func (t *Authenticator) record(ctx context.Context, e audit.Event) {
	e.Action, e.Operation, e.Issuer = audit.TokenAltered, "serve", identity.APIToken
	if err := t.options.Audit.Record(ctx, e); err != nil {
		t.options.Log.ErrorContext(ctx, "the audit log did not record an altered token", "error", err)
	}
}

// reportOmitted reports how many faults were not reported one by one since the last call.
func (t *Authenticator) reportOmitted(ctx context.Context) {
	t.mu.Lock()
	more := t.reportCount - maxReported
	t.reportCount = 0
	t.mu.Unlock()
	if more > 0 {
		t.options.Log.ErrorContext(ctx, "more documents of tokens were altered or removed: see coffer token list", "count", more)
		t.record(ctx, audit.Event{Code: errAltered.ErrorCode, Facts: audit.Facts{audit.FactFailed: strconv.Itoa(more)}})
	}
}
