package token_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/token"
)

// events is an audit log in memory.
type events struct {
	all  []audit.Event
	fail error
	look func() // before an event is taken
}

func (e *events) Record(_ context.Context, events ...audit.Event) error {
	if e.look != nil {
		e.look()
	}
	if e.fail == nil {
		e.all = append(e.all, events...)
	}
	return e.fail
}

func (e *events) take() (names []string) {
	for _, one := range e.all {
		names = append(names, one.Action.String()+" "+one.Code)
	}
	e.all = nil
	return names
}

// A change of tokens is on record before it is made, and as failed only if it was not made.
func TestTokensAreRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	f, log := token.Open(path), &events{}
	recorded := token.Log{Recorder: log, Operation: "token test"}
	held := func() int {
		tokens, err := token.Open(path).List()
		require.NoError(t, err)
		return len(tokens)
	}
	before := 0
	log.look = func() { require.Equal(t, before, held()) }
	text, made, err := f.CreateFirst(t.Context(), recorded)
	require.NoError(t, err)
	require.Equal(t, []any{"coffer", made.ID, "default", "token test"}, []any{log.all[0].Issuer, log.all[0].Subject, log.all[0].Tenant, log.all[0].Operation})
	require.Equal(t, []string{"token.create "}, log.take())
	requireHolds(t, f, text)
	none, _, err := token.Open(path).CreateFirst(t.Context(), recorded)
	require.NoError(t, err)
	require.Empty(t, none)
	before = 1
	_, err = f.Revoke(t.Context(), "0123456789abcdef", recorded)
	require.ErrorIs(t, err, token.ErrNoToken)
	require.Empty(t, log.take(), "what is refused is not announced")

	log.fail = audit.ErrUnavailable
	_, _, err = f.Issue(t.Context(), reader, recorded)
	require.ErrorIs(t, err, audit.ErrUnavailable)
	_, err = f.Revoke(t.Context(), made.ID, recorded)
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.Equal(t, 1, held(), "nothing changes that cannot be recorded")
	log.fail, log.look = nil, nil

	lost := errors.New("the reply is lost")
	replace := f.SetReplace(nil)
	f.SetReplace(func(path string, content []byte) error { return errors.Join(replace(path, content), lost) })
	text, made, err = f.Issue(t.Context(), reader, recorded)
	require.NoError(t, err)
	requireHolds(t, f, text)
	_, err = f.Revoke(t.Context(), made.ID, recorded)
	require.NoError(t, err)
	requireRefused(t, f, text)
	require.Equal(t, []string{"token.create ", "token.revoke "}, log.take())

	f.SetReplace(func(string, []byte) error { return lost })
	_, _, err = f.Issue(t.Context(), reader, recorded)
	require.ErrorIs(t, err, lost)
	require.Equal(t, []string{"token.create ", "token.create internal"}, log.take())

	f.SetReplace(func(string, []byte) error { return errors.Join(os.WriteFile(path, []byte("damaged"), 0o600), lost) })
	_, _, err = f.Issue(t.Context(), reader, recorded)
	require.ErrorIs(t, err, lost)
	require.True(t, log.all[1].Unknown, "it cannot be read back")
}
