package keyring_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A damaged document is rejected with its location, or opens if no key depends on the damaged field (a time, an
// epoch). It is never overwritten.
func TestDamagedDocumentIsRejected(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := rediskeys.New(server.Client(t))
	var noted []keyring.Incident
	open := func() *keyring.Keyring {
		noted = nil
		r, err := keyring.New(store, kms.NewSet(newKEK(t)), "test", keyring.WithIncidentHandler(func(l keyring.Incident) { noted = append(noted, l) }))
		require.NoError(t, err)
		return r
	}
	first := open()
	pkg := sealed(t, tenantOf(t, first, "tenant"), classify.PHI)
	first.Close() // so that it does not restore the document
	whole, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	now, refused := whole, map[string]int{}
	try := func(content []byte) error {
		swapped, err := store.Swap(t.Context(), keystore.Keysets, "tenant", now, content, 0)
		require.NoError(t, err)
		require.True(t, swapped)
		now = content
		r := open()
		defer r.Close()
		_, err = r.Tenant(t.Context(), "tenant")
		after, readErr := store.Get(t.Context(), keystore.Keysets, "tenant")
		require.NoError(t, readErr)
		require.Equal(t, content, after)
		if err != nil {
			require.ErrorContains(t, err, store.Location(keystore.Keysets, "tenant"))
			code := codes.Of(err).Code
			refused[code]++
			_, again := r.Tenant(t.Context(), "tenant")
			require.Equal(t, code, codes.Of(again).Code)
			require.Len(t, noted, 1, err.Error())
			require.Equal(t, "tenant", noted[0].Tenant)
			require.Equal(t, code, codes.Of(noted[0].Rejected).Code)
			require.ErrorIs(t, r.CheckRejected(t.Context()), keyring.ErrAltered)
			_, again = r.Tenant(t.Context(), "tenant")
			require.Error(t, again)
			require.Len(t, noted, 1, "no second alarm about the same document")
		}
		return err
	}
	for i := range whole {
		altered := bytes.Clone(whole)
		altered[i] ^= 1
		_ = try(altered)
	}
	require.Equal(t, len(newKEK(t).URL()), refused["key_unusable"], "the KEK of a slot is not configured")
	require.NotContains(t, refused, "wrong_secret")
	require.Greater(t, refused["authentication_failed"], len(whole)/2)
	for _, content := range [][]byte{whole[:1], whole[:len(whole)/2], whole[:len(whole)-1], append(bytes.Clone(whole), 0), make([]byte, 200<<10)} {
		require.ErrorIs(t, try(content), keyring.ErrUnreadable)
	}
	later := bytes.Clone(whole)
	later[3]++ // the version
	require.ErrorIs(t, try(later), envelope.ErrUnsupportedVersion)
	require.NoError(t, try(whole))
	r := open()
	defer r.Close()
	opens(t, tenantOf(t, r, "tenant"), pkg)
}

// A document under another tenant's name is rejected.
func TestDocumentOfAnotherTenantIsRejected(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tenantOf(t, openRing(t, dir), "a")
	store := storeIn(t, dir)
	content, err := store.Get(t.Context(), keystore.Keysets, "a")
	require.NoError(t, err)
	_, err = store.Swap(t.Context(), keystore.Keysets, "b", nil, content, 0)
	require.NoError(t, err)
	_, err = openRing(t, dir).Tenant(t.Context(), "b")
	require.ErrorIs(t, err, keyring.ErrUnreadable)
	require.ErrorContains(t, err, "another tenant")
}

// If the file is removed while a server uses it, it is written back before its tenant gets another key.
func TestRemovedFileIsWrittenBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tenant := tenantOf(t, openRing(t, dir), "tenant")
	require.NoError(t, os.Remove(filepath.Join(dir, "keys.db")))
	pkg := sealed(t, tenant, classify.PHI)
	require.NotNil(t, documentIn(t, dir, "tenant"))
	opens(t, tenantOf(t, openRing(t, dir), "tenant"), pkg)
}

const childDirectory = "COFFER_KEYRING_TEST_DIRECTORY"

// Processes that create tenants and keys are killed at random moments. Every key that a process reported as made is
// in the store.
func TestKilledProcessLosesNoKey(t *testing.T) {
	if dir := os.Getenv(childDirectory); dir != "" {
		makeKeysForEver(t, dir)
	}
	dir, made := t.TempDir(), 0
	for round := 0; round < 8 || made == 0; round++ {
		for _, line := range runAndKill(t, dir, time.Duration(20+15*round)*time.Millisecond) {
			var id, key string
			_, err := fmt.Sscan(line, &id, &key)
			require.NoError(t, err)
			got, err := tenantOf(t, openRing(t, dir), id).Primary(t.Context(), format.UseCache, classify.PHI)
			require.NoError(t, err)
			require.Equal(t, key, fmt.Sprintf("%x", got))
			made++
		}
	}
	require.Positive(t, made)
	t.Logf("%d keys, none lost", made)
}

func runAndKill(t *testing.T, dir string, after time.Duration) (lines []string) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLosesNoKey$")
	cmd.Env = append(os.Environ(), childDirectory+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	scanner := bufio.NewScanner(out)
	require.True(t, scanner.Scan()) // it has begun
	time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	require.Error(t, cmd.Wait())
	return lines
}

func makeKeysForEver(t *testing.T, dir string) {
	r := openRing(t, dir)
	fmt.Println("begun")
	for i := 0; ; i++ {
		id := fmt.Sprintf("tenant-%d-%d", os.Getpid(), i)
		key, err := tenantOf(t, r, id).Primary(t.Context(), format.UseCache, classify.PHI)
		require.NoError(t, err)
		fmt.Printf("%s %x\n", id, key)
	}
}
