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

// Registry makes, lists and revokes the tokens of an environment. It is safe for concurrent use, by several processes too.
type Registry struct {
	store   keystore.Store
	keys    *keychain
	now     func() time.Time
	changed func(ctx context.Context, name string, content []byte) // is called after a change; may be nil
}

// NewRegistry returns the registry of the tokens in a keystore. If system is nil, no document authenticates and no token can be made.
func NewRegistry(store keystore.Store, system *keyring.System) *Registry {
	return &Registry{store: store, keys: newKeychain(system), now: time.Now}
}

// Log is where changes of tokens are recorded before they are made.
type Audit struct {
	Recorder  audit.Recorder
	Operation string // the command
}

// event describes a change of a token. The digest lets audit verify compare the token with what was recorded.
func (l Audit) event(action audit.Action, e *entry) audit.Event {
	event := audit.Event{Action: action, Operation: l.Operation, Issuer: identity.APIToken, Subject: e.ID, Tenant: e.Tenant}
	if action == audit.TokenCreate {
		event.Facts = audit.Facts{audit.FactScopes: e.Scopes.String(), audit.FactExpires: "never", audit.FactDigest: e.digest()}
		if !e.ExpiresAt.IsZero() {
			event.Facts[audit.FactExpires] = e.ExpiresAt.Format(time.RFC3339)
		}
	}
	return event
}

// CreateFirst makes a token with all scopes on the default tenant, if this call makes the environment's key for tokens. Of several
// servers that start at once, one makes it. Otherwise it returns the empty string: the environment is not new, even if it has no
// token. Its errors are those of Issue.
func (r *Registry) CreateFirst(ctx context.Context, log Audit) (text string, t Token, err error) {
	made, err := r.keys.system.CreateKey(ctx, envelope.UseTokens)
	if err != nil || !made {
		return "", Token{}, err
	}
	return r.Issue(ctx, first, log)
}

// Issue makes a new token and returns its text, which is stored nowhere. It returns ErrGrant, an error of the keystore or of the
// keyring, or that of the audit log, without which no token is made.
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
		made, err := keystore.Replace(ctx, r.store, keystore.Tokens, e.ID, nil, content, e.due())
		if err == nil && !made {
			err = errors.New("token: another token has the id that was drawn: repeat the command")
		}
		return err
	}, log.event(audit.TokenCreate, e))
	if err != nil {
		return "", Token{}, err
	}
	r.tell(ctx, e.ID, content)
	return text, e.Token, nil
}

// Revoke ends a token by its id, or one whose document was altered by the document's name, and returns what was known of it. It
// returns ErrNoToken, an error of the keystore or of the keyring, or that of the audit log, without which no token ends.
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
			tombstone, err := r.keys.seal(ctx, e.buried(r.now()))
			if err != nil {
				return err
			}
			replaced, err := keystore.Replace(ctx, r.store, keystore.Tokens, id, content, tombstone, e.due())
			if err != nil {
				return err
			}
			if replaced {
				r.tell(ctx, id, tombstone)
				return nil
			}
			if content, e, err = r.get(ctx, id); errors.Is(err, ErrNoToken) { // another process ended it
				return nil
			} else if err != nil {
				return err
			}
		}
	}, log.event(audit.TokenRevoke, e))
}

// get reads a token that was not revoked. It returns ErrNoToken if there is none.
func (r *Registry) get(ctx context.Context, id string) (content []byte, e *entry, err error) {
	if content, err = r.store.Get(ctx, keystore.Tokens, id); err != nil {
		return nil, nil, err
	}
	if content == nil {
		return nil, nil, ErrNoToken
	}
	e, err = r.keys.open(id, content)
	switch {
	case errors.Is(err, ErrAltered):
		return content, &entry{Token: Token{ID: id, Altered: true}}, nil
	case err == nil && !e.RevokedAt.IsZero():
		err = ErrNoToken
	}
	return content, e, err
}

func (r *Registry) tell(ctx context.Context, name string, content []byte) {
	if r.changed != nil {
		r.changed(ctx, name, content)
	}
}

// List returns what is known of the tokens that were not revoked, in the order in which they were made. It includes expired ones until
// they are deleted, and altered ones. If some documents cannot be read, it returns the others with an error.
func (r *Registry) List(ctx context.Context) (tokens []Token, err error) {
	uses, err := r.uses(ctx)
	if err != nil {
		return nil, err
	}
	err = r.each(ctx, func(e *entry) {
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

// each calls do with every token, tombstones and altered ones included. Documents that cannot be read are skipped, and an error is returned.
func (r *Registry) each(ctx context.Context, do func(*entry)) error {
	var failed error
	for document, err := range keystore.All(ctx, r.store, keystore.Tokens) {
		if err != nil && document.Err == nil {
			return err
		}
		var e *entry
		if err == nil {
			e, err = r.keys.open(document.Name, document.Content)
		}
		switch {
		case errors.Is(err, ErrAltered):
			do(&entry{Token: Token{ID: document.Name, Altered: true}})
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			do(e)
		}
	}
	return failed
}
