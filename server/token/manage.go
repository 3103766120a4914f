package token

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/identity"
)

// Log is where changes of tokens are recorded before they are made.
type Log struct {
	Recorder  audit.Recorder
	Operation string // the command
}

// announce records what is about to happen to a token, and makes it. If the file's reply is lost, it reads back.
func (f *File) announce(ctx context.Context, log Log, action audit.Action, t *Token) func(write func() error) error {
	return func(write func() error) error {
		return audit.Announce(ctx, log.Recorder, func(context.Context) error {
			err := write()
			if err == nil {
				return nil
			}
			entries, _, unread := read(f.path)
			if unread != nil && !errors.Is(unread, fs.ErrNotExist) {
				return fmt.Errorf("%w: %w", durable.ErrUnknown, err)
			}
			if slices.ContainsFunc(entries, func(e entry) bool { return e.ID == t.ID }) == (action == audit.TokenCreate) {
				return nil
			}
			return err
		}, audit.Event{Action: action, Operation: log.Operation, Issuer: identity.APIToken, Subject: t.ID, Tenant: t.Tenant})
	}
}

// CreateFirst makes a token with all scopes on the default tenant if there is no file. If there is one, even
// without tokens, it returns the empty string, or ErrDamaged if the file cannot be understood.
func (f *File) CreateFirst(ctx context.Context, log Log) (text string, t Token, err error) {
	if _, err := f.current(); !errors.Is(err, fs.ErrNotExist) {
		return "", Token{}, err
	}
	text, made := generate(first, f.now())
	err = f.change(func(entries []entry) ([]entry, error) {
		if entries != nil {
			return nil, fs.ErrExist // of several servers that start at once, one makes it
		}
		return []entry{made}, nil
	}, f.announce(ctx, log, audit.TokenCreate, &made.Token))
	if errors.Is(err, fs.ErrExist) {
		return "", Token{}, nil
	}
	if err != nil {
		return "", Token{}, err
	}
	return text, made.Token, nil
}

// Issue makes a new token and returns it; it cannot be had again. Its errors are ErrGrant, ErrFull,
// ErrDamaged, those of the file system, and that of the audit log, without which no token is made.
func (f *File) Issue(ctx context.Context, g Grant, log Log) (text string, t Token, err error) {
	if err := g.Check(); err != nil {
		return "", Token{}, err
	}
	text, made := generate(g, f.now())
	err = f.change(func(entries []entry) ([]entry, error) {
		if len(entries) >= maxTokens {
			return nil, ErrFull
		}
		return append(entries, made), nil
	}, f.announce(ctx, log, audit.TokenCreate, &made.Token))
	if err != nil {
		return "", Token{}, err
	}
	return text, made.Token, nil
}

// List returns what is known of the tokens, including expired ones, in the order in which they were made.
func (f *File) List() ([]Token, error) {
	entries, err := f.current()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	tokens := make([]Token, len(entries))
	for i := range entries {
		tokens[i] = entries[i].Token
	}
	return tokens, err
}

// Revoke ends a token by its id and returns what was known of it. Its errors are ErrNoToken, ErrDamaged, those of
// the file system, and that of the audit log, without which no token ends.
func (f *File) Revoke(ctx context.Context, id string, log Log) (t Token, err error) {
	err = f.change(func(entries []entry) ([]entry, error) {
		i := slices.IndexFunc(entries, func(e entry) bool { return e.ID == id })
		if i < 0 {
			return nil, ErrNoToken
		}
		t = entries[i].Token
		return slices.Delete(entries, i, i+1), nil
	}, f.announce(ctx, log, audit.TokenRevoke, &t))
	return t, err
}
