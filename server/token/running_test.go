package token_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/server/token"
)

// TestChangedElsewhere: another process makes and revokes tokens; a running one knows at the very next
// request, each time.
func revoke(f *token.File, id string) error {
	_, err := f.Revoke(context.Background(), id, unrecorded)
	return err
}

func TestChangedElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	f := token.Open(path)
	kept, _ := issue(t, f, reader)
	for range 20 {
		made, known := issue(t, token.Open(path), reader)
		_, err := f.Authenticate(t.Context(), made)
		require.NoError(t, err)
		require.NoError(t, revoke(token.Open(path), known.ID))
		requireRefused(t, f, made)
		_, err = f.Authenticate(t.Context(), kept)
		require.NoError(t, err)
	}
	require.ErrorIs(t, revoke(f, "unknown"), token.ErrNoToken)
	require.NoError(t, os.Remove(path))
	requireRefused(t, f, kept)
}

// TestRevokedWithinTheClocksTick: a file of the same size, place and time as its former one, which a coarse
// clock can yield, is read.
func TestRevokedWithinTheClocksTick(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	f := token.Open(path)
	made, _ := issue(t, f, reader)
	for range 2 { // the first use changes the file
		_, err := f.Authenticate(t.Context(), made)
		require.NoError(t, err)
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)

	at := strings.Index(string(content), `"sha256": "`) + len(`"sha256": "`)
	copy(content[at:], strings.Repeat("0", 64))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	requireRefused(t, f, made)
}

// TestSettled: a file that has been there for a while is not read for every request.
func TestSettled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	f := token.Open(path)
	made, _ := issue(t, f, reader)
	_, err := f.Authenticate(t.Context(), made)
	require.NoError(t, err)
	old := time.Now().Add(-time.Minute)
	require.NoError(t, os.Chtimes(path, old, old))
	_, err = f.Authenticate(t.Context(), made)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", int(info.Size()))), 0o600))
	require.NoError(t, os.Chtimes(path, old, old))
	_, err = f.Authenticate(t.Context(), made)
	require.NoError(t, err, "what is known is used")
	require.NoError(t, os.Chtimes(path, old, old.Add(time.Second)))
	_, err = f.Authenticate(t.Context(), made)
	require.ErrorIs(t, err, token.ErrDamaged)
}

func TestExpiry(t *testing.T) {
	f := token.Open(filepath.Join(t.TempDir(), "tokens.json"))
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.SetClock(func() time.Time { return now })
	brief := reader
	brief.Lifetime = time.Minute
	made, known := issue(t, f, brief)
	require.Equal(t, now.Add(time.Minute), known.ExpiresAt)
	now = now.Add(time.Minute - 1)
	_, err := f.Authenticate(t.Context(), made)
	require.NoError(t, err)
	now = now.Add(1)
	requireRefused(t, f, made)
	list, err := f.List()
	require.NoError(t, err)
	require.Len(t, list, 1, "what expired is shown until it is revoked")
}

// TestLastUse: the hour of use is kept, by one write an hour.
func TestLastUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	f := token.Open(path)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.SetClock(func() time.Time { return now })
	made, _ := issue(t, f, reader)
	used := func() time.Time {
		list, err := token.Open(path).List()
		require.NoError(t, err)
		return list[0].LastUsedAt
	}
	require.Zero(t, used())
	for range 3 {
		_, err := f.Authenticate(t.Context(), made)
		require.NoError(t, err)
		require.Equal(t, now.Truncate(time.Hour), used())
		before, err := os.Stat(path)
		require.NoError(t, err)
		now = now.Add(50 * time.Minute)
		_, err = f.Authenticate(t.Context(), made)
		require.NoError(t, err)
		after, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, now.Truncate(time.Hour), used())
		sameHour := now.Hour() == now.Add(-50*time.Minute).Hour()
		require.Equal(t, sameHour, os.SameFile(before, after))
		now = now.Add(time.Hour)
	}
}

// TestUseCannotBeNoted: what cannot be noted stops nothing, and is not tried again before the next hour.
func TestUseCannotBeNoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	made, _ := issue(t, token.Open(path), reader)
	require.NoError(t, os.Remove(path+".lock"))
	require.NoError(t, os.Mkdir(path+".lock", 0o700)) // nobody gets the lock
	f := token.Open(path)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.SetClock(func() time.Time { return now })
	_, err := f.Authenticate(t.Context(), made)
	require.NoError(t, err)
	_, _, err = f.Issue(context.Background(), reader, unrecorded)
	require.Error(t, err)

	require.NoError(t, os.Remove(path+".lock"))
	for _, used := range []time.Time{{}, now.Add(time.Hour).Truncate(time.Hour)} {
		_, err = f.Authenticate(t.Context(), made)
		require.NoError(t, err)
		list, err := f.List()
		require.NoError(t, err)
		require.Equal(t, used, list[0].LastUsedAt)
		now = now.Add(time.Hour)
	}
}

// TestUseDuringAChange: a change that waits for the audit log holds up no request, and the use is noted afterwards.
func TestUseDuringAChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	made, known := issue(t, token.Open(path), reader)
	server := token.Open(path)
	log := &events{look: func() {
		done := make(chan error, 1)
		go func() {
			_, err := server.Authenticate(context.Background(), made)
			done <- err
		}()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Fatal("it waits for the change")
		}
	}}
	_, _, err := token.Open(path).Issue(t.Context(), reader, token.Log{Recorder: log, Operation: "token test"})
	require.NoError(t, err)
	requireHolds(t, server, made)
	list, err := server.List()
	require.NoError(t, err)
	require.Equal(t, known.ID, list[0].ID)
	require.NotZero(t, list[0].LastUsedAt)
}

// TestTogether: processes that make, use and revoke at once lose nothing, and nothing revoked comes back.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	served := token.Open(path)
	kept, gone := make([]string, 8), make([]string, 8)
	var wg sync.WaitGroup
	for i := range kept {
		wg.Go(func() {
			var known token.Token
			kept[i], _, _ = token.Open(path).Issue(context.Background(), reader, unrecorded)
			gone[i], known, _ = token.Open(path).Issue(context.Background(), reader, unrecorded)
			_, _ = served.Authenticate(t.Context(), gone[i])
			_ = revoke(token.Open(path), known.ID)
			_, _ = served.Authenticate(t.Context(), kept[i])
		})
	}
	wg.Wait()
	for i := range kept {
		_, err := served.Authenticate(t.Context(), kept[i])
		require.NoError(t, err)
		requireRefused(t, served, gone[i])
	}
	list, err := served.List()
	require.NoError(t, err)
	require.Len(t, list, len(kept))
}

func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	made, _ := issue(t, token.Open(path), reader)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, content := range []string{
		"", "{", "null", "{}", "[]", `{"tokens":null}`, `{"tokens":[{}]}`, `{"tokens":[null]}`, strings.Repeat(" ", 5<<20), string(good[:len(good)-4]),
		strings.Replace(string(good), "cache:read", "cache:more", 1),
		strings.Replace(string(good), `"clinic"`, `""`, 1),
		strings.Replace(string(good), `"sha256": "`, `"sha256": "00`, 1),
		strings.Replace(string(good), `"sha256": "`, `"x": "`, 1),
		`{"tokens":[` + strings.Repeat(`{},`, 1000) + `{}]}`,
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		f := token.Open(path)
		_, err := f.Authenticate(t.Context(), made)
		require.ErrorIs(t, err, token.ErrDamaged, "a damaged file opens to nobody: %.80s", content)
		for _, change := range []func() error{
			func() error { _, _, err := f.CreateFirst(context.Background(), unrecorded); return err },
			func() error { _, _, err := f.Issue(context.Background(), reader, unrecorded); return err },
			func() error { return revoke(f, "x") },
			func() error { _, err := f.List(); return err },
		} {
			require.ErrorIs(t, change(), token.ErrDamaged)
		}
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(now), "it is left as it is")
	}
	require.NoError(t, os.Remove(path))
	first, _, err := token.Open(path).CreateFirst(context.Background(), unrecorded)
	require.NoError(t, err)
	requireHolds(t, token.Open(path), first)
}

func TestFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	f := token.Open(path)
	last := fill(t, f, path)
	_, _, err := f.Issue(context.Background(), reader, unrecorded)
	require.ErrorIs(t, err, token.ErrFull)
	_, err = f.Authenticate(t.Context(), last)
	require.NoError(t, err)
	list, err := f.List()
	require.NoError(t, err)
	require.NoError(t, revoke(f, list[0].ID))
	issue(t, f, reader)
}

// fill makes as many tokens as there may be, without a thousand writes, and returns the last one.
func fill(t testing.TB, f *token.File, path string) (last string) {
	t.Helper()
	last, _ = issue(t, f, reader)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	_, one, _ := strings.Cut(string(content), "[")
	one = one[:strings.LastIndex(one, "]")]
	filler := strings.Replace(one, `"sha256": "`, `"sha256": "0000`, 1)
	at := strings.Index(filler, `"sha256": "`) + len(`"sha256": "`) + 64
	filler = filler[:at] + filler[at+4:]
	require.NoError(t, os.WriteFile(path, []byte(`{"tokens":[`+strings.Repeat(filler+",", 999)+one+`]}`), 0o600))
	return last
}

func BenchmarkAuthenticate(b *testing.B) {
	path := filepath.Join(b.TempDir(), "tokens.json")
	f := token.Open(path)
	last := fill(b, f, path)
	_, err := f.Authenticate(b.Context(), last)
	require.NoError(b, err)
	old := time.Now().Add(-time.Minute)
	require.NoError(b, os.Chtimes(path, old, old))
	for b.Loop() {
		_, _ = f.Authenticate(b.Context(), last)
	}
}

func FuzzAuthenticate(f *testing.F) {
	file := token.Open(filepath.Join(f.TempDir(), "tokens.json"))
	made, _ := issue(f, file, reader)
	for _, seed := range []string{"", token.Prefix, made, made[:20], token.Prefix + strings.Repeat("-", 43)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, bearer string) {
		_, err := file.Authenticate(t.Context(), bearer)
		require.Equal(t, bearer == made, err == nil)
		require.True(t, err == nil || errors.Is(err, identity.ErrUnauthorized))
	})
}

// FuzzFile: whatever the file holds, it is read or refused as a whole.
func FuzzFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "tokens.json")
	made, _ := issue(f, token.Open(path), reader)
	good, err := os.ReadFile(path)
	require.NoError(f, err)
	for _, seed := range []string{"", "{}", `{"tokens":[]}`, string(good)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "tokens.json")
		require.NoError(t, os.WriteFile(path, content, fs.FileMode(0o600)))
		_, err := token.Open(path).Authenticate(t.Context(), made)
		require.True(t, err == nil || errors.Is(err, token.ErrDamaged) || errors.Is(err, token.ErrUnauthorized))
	})
}
