package hashivault_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/kmspeers"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kms/hashivault"
	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

// journal is a log that a test reads.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// kept is a KEK whose token is kept alive until stop, or the test's end. No token is ever in its log.
func kept(t *testing.T, peer *kmspeers.Vault, s hashivault.Settings) (kek kms.KEK, log *journal, stop func()) {
	s.Address = peer.URL
	kek, err := kms.Open(t.Context(), "hashivault://"+kmspeers.VaultKey, hashivault.Provider(s))
	require.NoError(t, err)
	log = &journal{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		kms.RenewCredentials(ctx, slog.New(slog.NewTextHandler(log, nil)), kek)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(5 * time.Minute):
			t.Error("it does not end")
		}
		require.NotContains(t, log.String(), "PLANTED")
	})
	t.Cleanup(stop)
	return kek, log, stop
}

// works reports how a wrap ends.
func works(t *testing.T, kek kms.KEK) error {
	_, err := kek.Wrap(t.Context(), []byte("key"), nil)
	if err != nil {
		require.NotContains(t, err.Error(), "PLANTED")
	}
	return err
}

const short = "hvs.PLANTED-short"

// soon waits until something holds that is to come by itself.
func soon(t *testing.T, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 5*time.Minute, 10*time.Millisecond)
}

// A token lives for as long as the server, through failures of Vault.
func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	peer.Grant(short, kmspeers.VaultLife{TTL: 4 * time.Second, Period: 4 * time.Second, Slack: time.Hour})
	end := time.Now().Add(4 * time.Second)
	kek, log, _ := kept(t, peer, hashivault.Settings{Token: short})
	soon(t, func() bool { return peer.Renewed(short) > 0 })
	peer.Fail(kmstest.Failing, 1)
	soon(t, func() bool { return strings.Contains(log.String(), "which is tried again") })
	renewed := peer.Renewed(short)
	soon(t, func() bool { return peer.Renewed(short) > renewed && time.Now().After(end) })
	require.NoError(t, works(t, kek))
	require.Contains(t, log.String(), "is renewed before it ends")
	require.NotContains(t, log.String(), "ends and cannot be renewed")
}

// What cannot be renewed for ever is warned of, again and again before it ends; then the error says so.
func TestTokensThatEnd(t *testing.T) {
	t.Parallel()
	for reason, life := range map[string]kmspeers.VaultLife{
		"its longest life is reached":                     {TTL: 3 * time.Second, Max: 4 * time.Second, Slack: time.Hour},
		"it is not renewable":                             {TTL: 4 * time.Second, Fixed: true, Slack: time.Hour},
		"its policy does not grant auth/token/renew-self": {TTL: 4 * time.Second, NoSelf: true, Slack: time.Hour},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			peer := kmspeers.NewVault(t)
			peer.Grant(short, life)
			kek, log, _ := kept(t, peer, hashivault.Settings{Token: short})
			require.NoError(t, works(t, kek))
			soon(t, func() bool { return strings.Count(log.String(), "ends and cannot be renewed beyond that") >= 2 })
			require.Contains(t, log.String(), reason)
			peer.Revoke(short)
			soon(t, func() bool {
				err := works(t, kek)
				return errors.Is(err, kms.ErrDenied) && strings.Contains(err.Error(), "KMS authentication failed (Vault answers 403): check the token of Vault, whose life ended at 20")
			})
		})
	}
}

// A policy may forbid to look: the token is renewed all the same, if that is allowed. Where neither is, it is
// used as it is.
func TestForbiddenLookup(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	peer.Grant(short, kmspeers.VaultLife{TTL: 2 * time.Second, Period: 2 * time.Second, NoLook: true, Slack: time.Hour})
	kek, _, _ := kept(t, peer, hashivault.Settings{Token: short})
	const blind = "hvs.PLANTED-blind"
	peer.Grant(blind, kmspeers.VaultLife{TTL: time.Hour, NoLook: true, NoSelf: true})
	blindKEK, log, stop := kept(t, peer, hashivault.Settings{Token: blind})
	end := time.Now().Add(2 * time.Second)
	soon(t, func() bool { return peer.Renewed(short) >= 2 && time.Now().After(end) })
	soon(t, func() bool { return strings.Contains(log.String(), "nothing renews the token of Vault") })
	require.NoError(t, works(t, kek))
	require.NoError(t, works(t, blindKEK))
	stop()
	require.Equal(t, 1, strings.Count(log.String(), "nothing renews the token of Vault"), log)
}

// A token without an end, as root's, is left alone.
func TestTokenWithoutEnd(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	peer.Grant(short, kmspeers.VaultLife{})
	_, log, stop := kept(t, peer, hashivault.Settings{Token: short})
	soon(t, func() bool { return peer.Calls() > 0 })
	time.Sleep(50 * time.Millisecond)
	stop()
	require.Equal(t, 1, peer.Calls())
	require.Empty(t, log.String())
}

// replace writes a file as Vault Agent does, whole.
func replace(t *testing.T, path, content string) {
	require.NoError(t, os.WriteFile(path+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// The token's file is read again when it changes, and when Vault denies access; what is in it is kept alive.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	path := filepath.Join(t.TempDir(), "token")
	const first, second, third = "hvs.PLANTED-1", "hvs.PLANTED-2", "hvs.PLANTED-3"
	for _, token := range []string{first, second, third} {
		peer.Grant(token, kmspeers.VaultLife{TTL: 2 * time.Second, Period: 2 * time.Second, Slack: time.Hour})
	}
	replace(t, path, first+"\n")
	kek, _, stop := kept(t, peer, hashivault.Settings{TokenFile: path})
	require.NoError(t, works(t, kek))

	replace(t, path, second)
	peer.Revoke(first)
	calls, begun := peer.Calls(), time.Now()
	require.NoError(t, works(t, kek), "at the very next call")
	require.Less(t, peer.Calls()-calls, 5+2*int(time.Since(begun)/time.Second)) // the token is tended meanwhile
	renewed := peer.Renewed(second)
	soon(t, func() bool { return peer.Renewed(second) > renewed })

	stop()
	info, err := os.Stat(path)
	require.NoError(t, err)
	peer.Grant(third, kmspeers.VaultLife{TTL: time.Hour})
	require.NoError(t, os.WriteFile(path, []byte(third), 0o600)) // in its place, and nothing shows that it was
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	peer.Revoke(second)
	require.NoError(t, works(t, kek))

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, works(t, kek), "an empty file takes no token away")
	require.NoError(t, os.Remove(path))
	require.NoError(t, works(t, kek))
	peer.Revoke(third)
	require.ErrorIs(t, works(t, kek), kms.ErrDenied)
	_, err = kms.Open(t.Context(), "hashivault://"+kmspeers.VaultKey, hashivault.Provider(hashivault.Settings{Address: peer.URL, TokenFile: path}))
	require.ErrorIs(t, err, kms.ErrSettings)
	require.ErrorContains(t, err, "VAULT_TOKEN_FILE")
}

// A file that is written anew while calls are made fails none of them, though the former token is gone at once.
func TestTokenFileUnderCalls(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	path := filepath.Join(t.TempDir(), "token")
	replace(t, path, "hvs.PLANTED-0")
	peer.Grant("hvs.PLANTED-0", kmspeers.VaultLife{TTL: time.Hour})
	kek, _, _ := kept(t, peer, hashivault.Settings{TokenFile: path})
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := kek.Wrap(t.Context(), []byte("key"), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 5 {
		before, now := "hvs.PLANTED-"+string(rune('0'+i)), "hvs.PLANTED-"+string(rune('1'+i))
		peer.Grant(now, kmspeers.VaultLife{TTL: time.Hour})
		replace(t, path, now)
		peer.Revoke(before)
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	wg.Wait()
}

// What `coffer kms check` says of the token.
func TestCredentials(t *testing.T) {
	peer := kmspeers.NewVault(t)
	for life, want := range map[kmspeers.VaultLife]string{
		{TTL: time.Hour}:               `^a token until 20\S+Z, which a server renews$`,
		{TTL: time.Hour, Fixed: true}:  `^a token until 20\S+Z, which cannot be renewed$`,
		{}:                             "^a token without an end$",
		{TTL: time.Hour, NoLook: true}: "^a token whose end is not known: its policy does not grant auth/token/lookup-self$",
	} {
		t.Run(want, func(t *testing.T) {
			peer.Grant(short, life)
			kek, err := kms.Open(t.Context(), "hashivault://"+kmspeers.VaultKey, hashivault.Provider(hashivault.Settings{Address: peer.URL, Token: short}))
			require.NoError(t, err)
			proof, err := kms.Check(t.Context(), kek, "test")
			require.NoError(t, err)
			require.Regexp(t, want, proof.Credentials)
		})
	}
}
