package token

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Registry makes, lists and revokes the tokens of an environment. It is safe for concurrent use by several processes.
type Registry struct {
	store    keystore.Store
	keys     *keychain
	now      func() time.Time
	onChange func(ctx context.Context, name string, content []byte) // called after a change; may be nil
}

// NewRegistry returns the registry of the tokens in a keystore. If system is nil, no document authenticates and no
// token can be made.
func NewRegistry(store keystore.Store, system *keyring.System) *Registry {
	return &Registry{store: store, keys: newKeychain(system), now: time.Now}
}

// Audit records changes of tokens before they are made.
type Audit struct {
	Recorder  audit.Recorder
	Operation string // name of the command, for the events
}

// event returns the event of a change of a token. Its digest lets `coffer audit verify` compare the token with the
// event.
func (l Audit) event(action audit.Action, e *storedToken) audit.Event {
	event := audit.Event{Action: action, Operation: l.Operation, Issuer: identity.APIToken, Subject: e.ID, Tenant: e.Tenant}
	if action == audit.TokenCreate {
		event.Facts = audit.Facts{audit.FactScopes: e.Scopes.String(), audit.FactExpires: "never", audit.FactDigest: e.digest()}
		if !e.ExpiresAt.IsZero() {
			event.Facts[audit.FactExpires] = e.ExpiresAt.Format(time.RFC3339)
		}
	}
	return event
}

// CreateFirst makes a token with all scopes for the default tenant if the environment is new: this call makes the
// environment's key for tokens. If several servers start at the same time, one of them makes the token. Otherwise
// CreateFirst returns the empty string, even if there are no tokens. Its errors are those of Issue.
func (r *Registry) CreateFirst(ctx context.Context, log Audit) (text string, t Token, err error) {
	made, err := r.keys.system.CreateKey(ctx, envelope.UseTokens)
	if err != nil || !made {
		return "", Token{}, err
	}
	return r.Issue(ctx, firstGrant, log)
}

// Issue makes a new token and returns its text, which is not stored anywhere. It returns ErrGrant or an error of the
// keystore, the keyring or the audit log. If the audit log fails, no token is made.
func (r *Registry) Issue(ctx context.Context, g Grant, log Audit) (text string, t Token, err error) {
	if err := g.Check(); err != nil {
		return "", Token{}, err
	}
	text, e := generate(g, r.now())
	content, err := r.keys.seal(ctx, e)
	if err != nil {
		return "", Token{}, err
	}
	err = audit.Announce(ctx, log.Recorder, func(ctx context.Context) error {
		made, err := keystore.Replace(ctx, r.store, keystore.Tokens, e.ID, nil, content, e.deleteAt())
		if err == nil && !made {
			err = errors.New("token: another token already has the random id: repeat the command")
		}
		return err
	}, log.event(audit.TokenCreate, e))
	if err != nil {
		return "", Token{}, err
	}
	r.notify(ctx, e.ID, content)
	return text, e.Token, nil
}

// Revoke revokes the token with an id, which is the document's name if the document was altered. It returns the
// description of the token. It returns ErrNoToken or an error of the keystore, the keyring or the audit log. If the
// audit log fails, no token is revoked.
func (r *Registry) Revoke(ctx context.Context, id string, log Audit) (t Token, err error) {
	if len(id) > keystore.MaxName {
		return Token{}, ErrNoToken
	}
	content, e, err := r.get(ctx, id)
	if err != nil {
		return Token{}, err
	}
	return e.Token, audit.Announce(ctx, log.Recorder, func(ctx context.Context) error {
		for {
			tombstone, err := r.keys.seal(ctx, e.tombstone(r.now()))
			if err != nil {
				return err
			}
			replaced, err := keystore.Replace(ctx, r.store, keystore.Tokens, id, content, tombstone, e.deleteAt())
			if err != nil {
				return err
			}
			if replaced {
				r.notify(ctx, id, tombstone)
				return nil
			}
			if content, e, err = r.get(ctx, id); errors.Is(err, ErrNoToken) { // another process revoked it
				return nil
			} else if err != nil {
				return err
			}
		}
	}, log.event(audit.TokenRevoke, e))
}

// get returns a token and its document. It returns ErrNoToken if the token does not exist or was revoked.
func (r *Registry) get(ctx context.Context, id string) (content []byte, e *storedToken, err error) {
	if content, err = r.store.Get(ctx, keystore.Tokens, id); err != nil {
		return nil, nil, err
	}
	if content == nil {
		return nil, nil, ErrNoToken
	}
	e, err = r.keys.open(ctx, id, content)
	switch {
	case errors.Is(err, errAltered):
		return content, &storedToken{Token: Token{ID: id, Altered: true}}, nil
	case err == nil && !e.RevokedAt.IsZero():
		err = ErrNoToken
	}
	return content, e, err
}

func (r *Registry) notify(ctx context.Context, name string, content []byte) {
	if r.onChange != nil {
		r.onChange(ctx, name, content)
	}
}

// List returns the tokens that were not revoked, in the order in which they were made. It includes altered ones, and
// expired ones until they are deleted. If some documents cannot be read, it returns the other tokens with an error.
func (r *Registry) List(ctx context.Context) (tokens []Token, err error) {
	uses, err := r.uses(ctx)
	if err != nil {
		return nil, err
	}
	err = r.forEach(ctx, func(e *storedToken) {
		if !e.RevokedAt.IsZero() {
			return
		}
		if hour := uses[e.ID]; hour > 0 && !e.Altered {
			e.LastUsedAt = time.Unix(hour*3600, 0).UTC()
		}
		tokens = append(tokens, e.Token)
	})
	slices.SortFunc(tokens, func(a, b Token) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return tokens, err
}

// forEach calls do for every token, including tombstones and altered ones. It skips documents that cannot be read, and
// returns an error for them at the end.
func (r *Registry) forEach(ctx context.Context, do func(*storedToken)) error {
	var failed error
	for document, err := range keystore.All(ctx, r.store, keystore.Tokens) {
		if err != nil && document.Err == nil {
			return err
		}
		var e *storedToken
		if err == nil {
			e, err = r.keys.open(ctx, document.Name, document.Content)
		}
		switch {
		case errors.Is(err, errAltered):
			do(&storedToken{Token: Token{ID: document.Name, Altered: true}})
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			do(e)
		}
	}
	return failed
}
