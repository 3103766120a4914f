package token

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
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

// change replaces the file by the tokens that edit returns, under the file's lock, after it recorded what is about to happen to a
// token. A missing file has no tokens: edit gets nil. If the file's reply is lost, change reads back.
func (f *File) change(ctx context.Context, log Log, action audit.Action, t *Token, edit func([]entry) ([]entry, error)) error {
	if err := durable.MkdirAll(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	unlock, err := durable.Lock(f.lock())
	if err != nil {
		return err
	}
	defer unlock()
	entries, _, err := read(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if entries, err = edit(entries); err != nil {
		return err
	}
	return audit.Announce(ctx, log.Recorder, func(context.Context) error {
		err := f.replace(f.path, encode(entries))
		if err == nil {
			return nil
		}
		now, _, unread := read(f.path)
		if unread != nil && !errors.Is(unread, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", durable.ErrUnknown, err)
		}
		if (indexOf(now, t.ID) >= 0) == (action == audit.TokenCreate) {
			return nil
		}
		return err
	}, audit.Event{Action: action, Operation: log.Operation, Issuer: identity.APIToken, Subject: t.ID, Tenant: t.Tenant})
}

func indexOf(entries []entry, id string) int {
	return slices.IndexFunc(entries, func(e entry) bool { return e.ID == id })
}

// CreateFirst makes a token with all scopes on the default tenant if there is no file. If there is one, even
// without tokens, it returns the empty string, or ErrDamaged if the file cannot be understood.
func (f *File) CreateFirst(ctx context.Context, log Log) (text string, t Token, err error) {
	text, t, err = f.create(ctx, first, log, func(entries []entry) error {
		if entries != nil {
			return fs.ErrExist // of several servers that start at once, one makes it
		}
		return nil
	})
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return text, t, err
}

// Issue makes a new token and returns it; it cannot be had again. Its errors are ErrGrant, ErrFull,
// ErrDamaged, those of the file system, and that of the audit log, without which no token is made.
func (f *File) Issue(ctx context.Context, g Grant, log Log) (text string, t Token, err error) {
	if err := g.Check(); err != nil {
		return "", Token{}, err
	}
	return f.create(ctx, g, log, func(entries []entry) error {
		if len(entries) >= maxTokens {
			return ErrFull
		}
		return nil
	})
}

// create makes a token unless refuse returns an error.
func (f *File) create(ctx context.Context, g Grant, log Log, refuse func([]entry) error) (text string, t Token, err error) {
	text, made := generate(g, f.now())
	err = f.change(ctx, log, audit.TokenCreate, &made.Token, func(entries []entry) ([]entry, error) {
		return append(entries, made), refuse(entries)
	})
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
	err = f.change(ctx, log, audit.TokenRevoke, &t, func(entries []entry) ([]entry, error) {
		i := indexOf(entries, id)
		if i < 0 {
			return nil, ErrNoToken
		}
		t = entries[i].Token
		return slices.Delete(entries, i, i+1), nil
	})
	return t, err
}
