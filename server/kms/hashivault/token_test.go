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

// logBuffer is a log that a test reads.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *logBuffer) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *logBuffer) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// openRenewed opens a KEK whose token is renewed until stop is called or the test ends. It fails if the log contains a
// token.
func openRenewed(t *testing.T, peer *kmspeers.Vault, s hashivault.Settings) (kek kms.KEK, log *logBuffer, stop func()) {
	s.Address = peer.URL
	kek, err := kms.Open(t.Context(), "hashivault://"+kmspeers.VaultKey, hashivault.Provider(s))
	require.NoError(t, err)
	log = &logBuffer{}
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
			t.Error("RenewCredentials does not return")
		}
		require.NotContains(t, log.String(), "PLANTED")
	})
	t.Cleanup(stop)
	return kek, log, stop
}

// tryWrap returns the error of a call of Wrap, which must not contain a token.
func tryWrap(t *testing.T, kek kms.KEK) error {
	_, err := kek.Wrap(t.Context(), []byte("key"), nil)
	if err != nil {
		require.NotContains(t, err.Error(), "PLANTED")
	}
	return err
}

const short = "hvs.PLANTED-short"

// waitUntil waits until condition returns true.
func waitUntil(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 5*time.Minute, 10*time.Millisecond)
}

// A token is renewed for as long as the server runs, even if Vault fails in between.
func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	peer.Grant(short, kmspeers.VaultLife{TTL: 4 * time.Second, Period: 4 * time.Second, Slack: time.Hour})
	end := time.Now().Add(4 * time.Second)
	kek, log, _ := openRenewed(t, peer, hashivault.Settings{Token: short})
	waitUntil(t, func() bool { return peer.Renewed(short) > 0 })
	peer.Fail(kmstest.Failing, 1)
	waitUntil(t, func() bool { return strings.Contains(log.String(), "will be retried") })
	renewed := peer.Renewed(short)
	waitUntil(t, func() bool { return peer.Renewed(short) > renewed && time.Now().After(end) })
	require.NoError(t, tryWrap(t, kek))
	require.Contains(t, log.String(), "is renewed before it expires")
	require.NotContains(t, log.String(), "expires and cannot be renewed")
}

// If a token cannot be renewed, a warning is logged repeatedly before it expires, and the error afterwards has the time
// of its expiry.
func TestTokensThatEnd(t *testing.T) {
	t.Parallel()
	for reason, life := range map[string]kmspeers.VaultLife{
		"its maximum TTL is reached":                      {TTL: 3 * time.Second, Max: 4 * time.Second, Slack: time.Hour},
		"it is not renewable":                             {TTL: 4 * time.Second, Fixed: true, Slack: time.Hour},
		"its policy does not grant auth/token/renew-self": {TTL: 4 * time.Second, NoSelf: true, Slack: time.Hour},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			peer := kmspeers.NewVault(t)
			peer.Grant(short, life)
			kek, log, _ := openRenewed(t, peer, hashivault.Settings{Token: short})
			require.NoError(t, tryWrap(t, kek))
			waitUntil(t, func() bool { return strings.Count(log.String(), "expires and cannot be renewed") >= 2 })
			require.Contains(t, log.String(), reason)
			peer.Revoke(short)
			waitUntil(t, func() bool {
				err := tryWrap(t, kek)
				return errors.Is(err, kms.ErrDenied) && strings.Contains(err.Error(), "KMS authentication failed (Vault answers 403): check the token of Vault, which expired at 20")
			})
		})
	}
}

// A token whose policy does not grant lookup-self is renewed if the policy grants renew-self, and otherwise used
// without renewal.
func TestForbiddenLookup(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	peer.Grant(short, kmspeers.VaultLife{TTL: 2 * time.Second, Period: 2 * time.Second, NoLook: true, Slack: time.Hour})
	kek, _, _ := openRenewed(t, peer, hashivault.Settings{Token: short})
	const blind = "hvs.PLANTED-blind"
	peer.Grant(blind, kmspeers.VaultLife{TTL: time.Hour, NoLook: true, NoSelf: true})
	blindKEK, log, stop := openRenewed(t, peer, hashivault.Settings{Token: blind})
	end := time.Now().Add(2 * time.Second)
	waitUntil(t, func() bool { return peer.Renewed(short) >= 2 && time.Now().After(end) })
	waitUntil(t, func() bool { return strings.Contains(log.String(), "the token of Vault is not renewed") })
	require.NoError(t, tryWrap(t, kek))
	require.NoError(t, tryWrap(t, blindKEK))
	stop()
	require.Equal(t, 1, strings.Count(log.String(), "the token of Vault is not renewed"), log)
}

// A token that does not expire, such as the root token, is not renewed.
func TestTokenThatDoesNotExpireIsNotRenewed(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	peer.Grant(short, kmspeers.VaultLife{})
	_, log, stop := openRenewed(t, peer, hashivault.Settings{Token: short})
	waitUntil(t, func() bool { return peer.Calls() > 0 })
	time.Sleep(50 * time.Millisecond)
	stop()
	require.Equal(t, 1, peer.Calls())
	require.Empty(t, log.String())
}

// replace replaces a file atomically, as Vault Agent does.
func replace(t *testing.T, path, content string) {
	require.NoError(t, os.WriteFile(path+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// The token file is read again when it changes and when Vault denies access, and its token is renewed.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	path := filepath.Join(t.TempDir(), "token")
	const first, second, third = "hvs.PLANTED-1", "hvs.PLANTED-2", "hvs.PLANTED-3"
	for _, token := range []string{first, second, third} {
		peer.Grant(token, kmspeers.VaultLife{TTL: 2 * time.Second, Period: 2 * time.Second, Slack: time.Hour})
	}
	replace(t, path, first+"\n")
	kek, _, stop := openRenewed(t, peer, hashivault.Settings{TokenFile: path})
	require.NoError(t, tryWrap(t, kek))

	replace(t, path, second)
	peer.Revoke(first)
	calls, begun := peer.Calls(), time.Now()
	require.NoError(t, tryWrap(t, kek), "the next call uses the new token")
	require.Less(t, peer.Calls()-calls, 5+2*int(time.Since(begun)/time.Second)) // the token is renewed concurrently
	renewed := peer.Renewed(second)
	waitUntil(t, func() bool { return peer.Renewed(second) > renewed })

	stop()
	info, err := os.Stat(path)
	require.NoError(t, err)
	peer.Grant(third, kmspeers.VaultLife{TTL: time.Hour})
	require.NoError(t, os.WriteFile(path, []byte(third), 0o600)) // overwritten, with the same size and time
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	peer.Revoke(second)
	require.NoError(t, tryWrap(t, kek))

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, tryWrap(t, kek), "an empty file does not remove the token")
	require.NoError(t, os.Remove(path))
	require.NoError(t, tryWrap(t, kek))
	peer.Revoke(third)
	require.ErrorIs(t, tryWrap(t, kek), kms.ErrDenied)
	_, err = kms.Open(t.Context(), "hashivault://"+kmspeers.VaultKey, hashivault.Provider(hashivault.Settings{Address: peer.URL, TokenFile: path}))
	require.ErrorIs(t, err, kms.ErrSettings)
	require.ErrorContains(t, err, "VAULT_TOKEN_FILE")
}

// No call fails if the token file is replaced during calls and the former token is revoked at once.
func TestTokenFileIsReplacedDuringCalls(t *testing.T) {
	t.Parallel()
	peer := kmspeers.NewVault(t)
	path := filepath.Join(t.TempDir(), "token")
	replace(t, path, "hvs.PLANTED-0")
	peer.Grant("hvs.PLANTED-0", kmspeers.VaultLife{TTL: time.Hour})
	kek, _, _ := openRenewed(t, peer, hashivault.Settings{TokenFile: path})
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

// DescribeCredentials describes the token for `coffer kms check`.
func TestDescribeCredentials(t *testing.T) {
	peer := kmspeers.NewVault(t)
	for life, want := range map[kmspeers.VaultLife]string{
		{TTL: time.Hour}:               `^a token that expires at 20\S+Z unless a server renews it$`,
		{TTL: time.Hour, Fixed: true}:  `^a token that expires at 20\S+Z and cannot be renewed$`,
		{}:                             "^a token that does not expire$",
		{TTL: time.Hour, NoLook: true}: "^a token with an unknown expiry: its policy does not grant auth/token/lookup-self$",
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
