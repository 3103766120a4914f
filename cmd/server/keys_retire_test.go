package main_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// keysets is what coffer keys list --json prints.
func keysets(t *testing.T, environ []string, args ...string) (all []lifecycle.Keyset) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(coffer(t, environ, append([]string{"keys", "list", "--json"}, args...)...)), &all))
	return all
}

// keysIn opens the embedded keystore of a data directory.
func keysIn(t *testing.T, data string) keystore.Store {
	t.Helper()
	store, err := sqlitekeys.Open(filepath.Join(data, "keys"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// backdateKeys sets the creation of a tenant's keys to a time at which every server knows them, and signs them again.
func backdateKeys(t *testing.T, data, tenant string, by time.Duration) {
	t.Helper()
	store := keysIn(t, data)
	old, err := store.Get(t.Context(), keystore.Keysets, tenant)
	require.NoError(t, err)
	d, err := envelope.ParseDocument(old)
	require.NoError(t, err)
	kek, err := kms.Open(t.Context(), "base64key://"+masterA)
	master := filepath.Join(data, "master.key")
	if _, missing := os.Stat(master); missing == nil {
		kek, err = kms.OpenFile(master)
	}
	require.NoError(t, err)
	roots := map[format.KeyID]*secret.Key{}
	for i := range d.Slots {
		binding := d.RootBinding(d.Slots[i].Root)
		additional := binding.Append(nil)
		plain, err := kek.Unwrap(t.Context(), d.Slots[i].Wrapped, additional)
		require.NoError(t, err)
		roots[d.Slots[i].Root.ID], err = secret.FromBytes(plain[len(additional):])
		require.NoError(t, err)
	}
	for i := range d.Keysets {
		for j := range d.Keysets[i].Keys {
			d.Keysets[i].Keys[j].CreatedAt -= by.Milliseconds()
		}
	}
	for r := range d.Records {
		clear(r.MAC)
	}
	require.NoError(t, d.Sign(func(r *envelope.Record) (mac [envelope.MACSize]byte, ok bool) {
		h := roots[r.Root.ID].MAC(envelope.LabelRecordMAC)
		h.Write(r.Message)
		h.Sum(mac[:0])
		return mac, true
	}))
	older, err := d.Append(nil)
	require.NoError(t, err)
	swapped, err := store.Swap(t.Context(), keystore.Keysets, tenant, old, older, 0)
	require.NoError(t, err)
	require.True(t, swapped)
}

// Keys that are still needed are not disabled.
func TestServersRefuseDisabledAndDestroyedKeys(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	data, environ := t.TempDir(), []string{"REDIS_URL=redis://" + redis.Addr, "ENCRYPTION_MASTER_KEY=" + masterA}
	servers := []*process{serve(t, data, environ...), serve(t, data, environ...)}
	clinic, other := tokenFor(t, environ, data, "clinic"), tokenFor(t, environ, data, "other")
	makeSealer := func() string {
		out := coffer(t, environ, "token", "create", "--data", data, "--tenant", "clinic", "--scopes", "package:encrypt,package:decrypt")
		return strings.TrimSpace(strings.TrimPrefix(out, "token: "))
	}
	sealer := makeSealer()
	servers[0].put(clinic, "patient-1", record)
	servers[0].put(other, "patient-1", record)
	status, pkg := servers[1].accepted(sealer, "POST", "/v1/encrypt", `{"text":"`+record+`","class":"phi"}`)
	require.Equal(t, http.StatusOK, status, pkg)
	opens := func(p *process) (int, string) { return p.do(sealer, "POST", "/v1/decrypt", pkg) }

	before := keysets(t, environ, "--data", data, "--tenant", "clinic")
	require.Len(t, before, 2)
	former := map[string]string{before[0].Use: before[0].Primary, before[1].Use: before[1].Primary}
	// age removes the rotation's record and makes the keys older, while no server runs that could write them again.
	age := func() {
		for _, p := range servers {
			require.Zero(t, p.stop(syscall.SIGTERM))
		}
		keystoretest.ExecSQL(t, filepath.Join(data, "keys"), "DELETE FROM documents WHERE kind = 'rotation'")
		backdateKeys(t, data, "clinic", 2*time.Hour)
		for i := range servers {
			servers[i] = serve(t, data, environ...)
		}
	}
	command := func(verb, use, key string, more ...string) []string {
		return append([]string{"keys", verb, "--data", data, "--tenant", "clinic", "--use", use, "--class", "phi", "--key", key}, more...)
	}
	require.Contains(t, refused(t, environ, "clinic\n", command("disable", "service", former["service"])...), "is the primary and seals")
	require.Contains(t, refused(t, environ, "clinic\n", command("destroy", "cache", former["cache"])...), "is the primary and seals")
	rotations(t, environ, "--data", data, "--execute", "--tenant", "clinic")
	require.Contains(t, refused(t, environ, "clinic\n", command("disable", "service", former["service"])...), "its state is grace")
	require.Contains(t, refused(t, environ, "clinic\n", command("disable", "cache", former["cache"])...), "rotations destroy former keys of the cache")
	rotations(t, environ, "--data", data, "--rollback", "--tenant", "clinic") // from here on, former keys belong to no rotation
	newer := map[string]string{}
	for _, s := range keysets(t, environ, "--data", data, "--tenant", "clinic") {
		require.Equal(t, former[s.Use], s.Primary)
		newer[s.Use] = s.Keys[1].ID
	}
	require.Contains(t, refused(t, environ, "clinic\n", command("disable", "service", newer["service"])...), "may seal under the key until")

	// Remove the record of the rotation, and make the keys older.
	age()
	table := coffer(t, environ, "keys", "list", "--data", data)
	require.Regexp(t, `"clinic" +service +phi +`+former["service"][:16]+` +enabled, primary +0d +20\d\d-`, table)
	require.Regexp(t, `"clinic" +cache +phi +`+newer["cache"][:16]+` +enabled +0d +-`, table)
	require.Contains(t, table, `"other"`)
	require.Contains(t, refused(t, environ, "clinic\n", command("disable", "cache", newer["cache"])...), "rotations destroy former keys of the cache")

	for _, answer := range []string{"", "other\n", "yes\n"} {
		out := refused(t, environ, answer, command("disable", "service", newer["service"][:16])...)
		require.Contains(t, out, "nothing was changed")
		require.Contains(t, out, "No scan sees")
		require.Contains(t, out, "never enabled again")
	}
	require.Contains(t, refused(t, environ, "clinic\n", command("destroy", "service", newer["service"])...), "disable it first")
	for _, c := range []struct{ use, key, says string }{
		{"service", newer["cache"], "no such key"}, {"service", newer["service"][:15], "at least 16 of its first digits"}, {"odd", newer["service"], "--use"}, {"storage", newer["service"], "no such key"},
	} {
		require.Contains(t, refused(t, environ, "clinic\n", command("disable", c.use, c.key)...), c.says)
	}
	require.Contains(t, refused(t, environ, "", "keys", "list", "--data", data, "--tenant", "nobody"), "no keys")

	// A key of packages can be retired although packages under it exist.
	rotations(t, environ, "--data", data, "--execute", "--tenant", "clinic")
	age()
	for _, p := range servers {
		require.Equal(t, http.StatusOK, first(opens(p)))
	}
	path := filepath.Join(t.TempDir(), "backup")
	coffer(t, environ, "keys", "backup", "--data", data, "--out", path)
	for _, step := range []struct {
		verb, code string
		status     int
	}{{"disable", "key_unusable", http.StatusConflict}, {"destroy", "key_destroyed", http.StatusGone}} {
		require.Contains(t, coffer(t, environ, command(step.verb, "service", former["service"], "--confirm", "clinic", "--reason", "personnel")...), "every server that reaches")
		for _, p := range servers {
			require.Contains(t, p.answers(step.status, sealer, "POST", "/v1/decrypt", pkg), step.code)
		}
		require.Contains(t, coffer(t, environ, command(step.verb, "service", former["service"])...), "already")
	}
	log := auditLog(t, data)
	for _, verb := range []string{"disable", "destroy"} {
		require.Contains(t, log, `"action":"key.`+verb+`","outcome":"ok","operation":"keys `+verb+`","tenant":"clinic","class":"phi","keyId":"`+former["service"]+`"`)
		require.Regexp(t, `"operation":"keys `+verb+`"[^\n]*"reason":"personnel"`, log)
	}
	odd := refused(t, environ, "clinic\n", command("disable", "service", former["service"], "--reason", "pl4nted")...)
	require.Contains(t, odd, "--reason: a reason is incident, personnel, policy, schedule or other")
	require.NotContains(t, odd, "pl4nted")
	servers[1].requireValue(clinic, "patient-1", record)
	servers[1].requireValue(other, "patient-1", record)

	// An earlier backup does not bring it back if the keysets are lost and the log is not.
	for _, p := range servers {
		require.Zero(t, p.stop(syscall.SIGTERM))
	}
	require.NoError(t, os.RemoveAll(filepath.Join(data, "keys")))
	require.Contains(t, coffer(t, environ, "keys", "restore", "--data", data, "--in", path), `tenant "clinic": 1 keys destroyed since the backup, and stay so`)
	p := serve(t, data, environ...)
	sealer = makeSealer()
	status, body := p.accepted(sealer, "POST", "/v1/decrypt", pkg)
	require.Equal(t, http.StatusGone, status, body)
	p.requireValue(tokenFor(t, environ, data, "clinic"), "patient-1", record)
}
