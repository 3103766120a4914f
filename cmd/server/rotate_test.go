package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// rotations returns the output of coffer rotate --json.
func rotations(t *testing.T, environ []string, args ...string) []rotation.Report {
	t.Helper()
	var all rotation.Status
	require.NoError(t, json.Unmarshal([]byte(coffer(t, environ, append([]string{"rotate", "--json"}, args...)...)), &all))
	return all.Rotations
}

// awaitReencryption waits until a server re-encrypts entries.
func awaitReencryption(t *testing.T, data string) {
	t.Helper()
	soon(t, func() bool {
		all := rotations(t, nil, "--data", data, "--status")
		require.False(t, len(all) > 0 && all[0].State == rotation.Grace, "the rotation is over")
		return len(all) == 1 && all[0].State == rotation.Reencrypting
	})
}

func TestRotateAndRollBackBesideServers(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	data, environ := t.TempDir(), []string{"REDIS_URL=redis://" + redis.Addr, "ENCRYPTION_MASTER_KEY=" + masterA}
	servers := []*process{serve(t, data, environ...), serve(t, data, environ...)}
	clinic, other := tokenFor(t, environ, data, "clinic"), tokenFor(t, environ, data, "other")
	for i := range 20 {
		servers[i%2].put(clinic, fmt.Sprint("patient-", i), record)
	}
	servers[0].put(other, "patient-1", record)

	out := coffer(t, environ, "rotate", "--data", data, "--dry-run", "--tenant", "clinic")
	require.Regexp(t, `"clinic" +cache +phi +1 +20\d\d-\S+\n`, out)
	require.NotContains(t, out, "storage", "browsers' keys are left out")
	require.Contains(t, coffer(t, environ, "rotate", "--data", data, "--status"), "no rotation yet")
	require.Contains(t, refused(t, environ, "", "rotate", "--data", data, "--rollback"), "no rotation to roll back")

	key := onlyKey(t, redis, "other")
	before := redis.Client(t).Get(t.Context(), key).Val()
	all := rotations(t, environ, "--data", data, "--execute", "--tenant", "clinic", "--reason", "personnel")
	require.Len(t, all, 1)
	require.Equal(t, rotation.Grace, all[0].State)
	require.Equal(t, 20, all[0].Reencrypted)
	require.Contains(t, coffer(t, environ, "audit", "tail", "--data", data, "--action", "key.rotate"), "personnel")
	out = coffer(t, environ, "rotate", "--data", data, "--status")
	require.Regexp(t, `"clinic" +grace +phi +personnel `, out)
	require.Regexp(t, `sweep of 20\d\d-\S+: 1 of 1 parts, 2\d entries; complete`, out)
	require.Equal(t, before, redis.Client(t).Get(t.Context(), key).Val(), "another tenant's")
	for i := range 20 {
		servers[(i+1)%2].requireValue(clinic, fmt.Sprint("patient-", i), record)
	}

	require.Equal(t, rotation.RolledBack, rotations(t, environ, "--data", data, "--rollback")[0].State)
	all = rotations(t, environ, "--data", data, "--execute", "--compromised", "--class", "phi")
	require.Len(t, all, 2, "the default tenant has no keys of that class")
	for _, r := range all {
		require.True(t, r.Compromised)
	}
	out = refused(t, environ, "", "rotate", "--data", data, "--rollback", "--tenant", "clinic")
	require.Contains(t, out, "compromised")
	require.Regexp(t, `"clinic" +grace, compromised +phi `, coffer(t, environ, "rotate", "--data", data, "--status"))
	for i := range 20 {
		servers[i%2].requireValue(clinic, fmt.Sprint("patient-", i), record)
	}
	servers[0].requireValue(other, "patient-1", record)
	require.Zero(t, servers[0].stop(syscall.SIGTERM))
	require.NotContains(t, servers[0].log.String(), "patient-")
	require.NotContains(t, servers[0].log.String(), "held up")
}

func TestServerDoesTheRotationOfItsEmbeddedCache(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	token := tokenFor(t, nil, data, "clinic")
	for i := range 50 {
		p.put(token, fmt.Sprint("patient-", i), record)
	}
	require.Regexp(t, `"clinic" +cache +phi +1 +20`, coffer(t, nil, "rotate", "--data", data, "--dry-run"))
	all := rotations(t, nil, "--data", data, "--execute", "--tenant", "clinic")
	require.Equal(t, rotation.Grace, all[0].State)
	require.Equal(t, 50, all[0].Reencrypted)
	for i := range 50 {
		p.requireValue(token, fmt.Sprint("patient-", i), record)
	}
	p.kill()
	all = rotations(t, nil, "--data", data, "--execute", "--tenant", "clinic", "--reencrypt-rate", "0") // the killed server's lease runs out
	require.Equal(t, 100, all[0].Reencrypted, "it joined the first one, whose grace period is not over")
	p = serve(t, data)
	for i := range 50 {
		p.requireValue(token, fmt.Sprint("patient-", i), record)
	}
}

func TestRotateRefusesBadFlags(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	serve(t, data)
	for _, c := range []struct{ says, flag string }{
		{"at least one of the flags", "--json"}, {"--class", "--class=x"}, {"keys", "--tenant=nobody"}, {"--reason", "--reason=boredom"}, {"none of the others can be", "--rollback"},
	} {
		args := []string{"rotate", "--data", data, c.flag}
		if c.flag != "--json" {
			args = append(args, "--execute")
		}
		require.Contains(t, refused(t, nil, "", args...), c.says)
	}
}

// The others are rotated.
func TestRotateNamesTenantsThatFail(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	data, environ := t.TempDir(), []string{"REDIS_URL=redis://" + redis.Addr, "ENCRYPTION_MASTER_KEY=" + masterA}
	p := serve(t, data, environ...)
	for _, tenant := range []string{"clinic", "other"} {
		p.put(tokenFor(t, environ, data, tenant), "patient-1", record)
	}
	require.Len(t, rotations(t, environ, "--data", data, "--execute", "--compromised", "--tenant", "clinic"), 1)
	rotations(t, environ, "--data", data, "--execute", "--tenant", "other")
	out := refused(t, environ, "", "rotate", "--data", data, "--rollback")
	require.Contains(t, out, `tenant "clinic": `)
	require.Regexp(t, `"other" +rolled-back `, out)

	store := keysIn(t, data)
	for _, name := range []string{"a", "z"} { // sorted before and after the other tenants
		keystoretest.Put(t, store, keystore.Keysets, name, []byte("damaged"))
	}
	out = refused(t, environ, "", "rotate", "--data", data, "--execute", "--compromised")
	require.Regexp(t, `"other" +grace, compromised `, out)
	require.Equal(t, 2, strings.Count(out, "damaged"), out)
	require.Contains(t, refused(t, environ, "", "rotate", "--data", data, "--dry-run"), `"other"`)
}

func TestRotateReturnsAtOnceWithoutACache(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	p.put(tokenFor(t, nil, data, "clinic"), "patient-1", record)
	p.kill()
	require.NoError(t, os.RemoveAll(filepath.Join(data, "cache")))
	all := rotations(t, nil, "--data", data, "--execute", "--tenant", "clinic")
	require.Equal(t, rotation.Reencrypting, all[0].State, "the server that gets a cache goes on")
}

func TestInterruptedRotateSaysThatServersContinue(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data, "COFFER_REENCRYPT_RATE=1")
	token := tokenFor(t, nil, data, "clinic")
	for i := range 60 { // which take 50 s or more
		p.put(token, fmt.Sprint("patient-", i), record)
	}
	cmd := program(t, nil, "rotate", "--data", data, "--execute", "--tenant", "clinic")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	awaitReencryption(t, data)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Contains(t, out.String(), "servers continue the rotation")
	require.NotContains(t, out.String(), "context canceled")
	require.Regexp(t, `"clinic" +reencrypting `, out.String())
}

// Another server continues the rotation.
func TestRotateWarnsIfNoServerWorks(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data, "COFFER_REENCRYPT_RATE=1")
	token := tokenFor(t, nil, data, "clinic")
	for i := range 60 { // which take 50 s or more
		p.put(token, fmt.Sprint("patient-", i), record)
	}
	said := logFile(filepath.Join(t.TempDir(), "said"))
	file, err := os.Create(string(said))
	require.NoError(t, err)
	defer file.Close()
	cmd := program(t, nil, "rotate", "--data", data, "--execute", "--tenant", "clinic")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, file
	require.NoError(t, cmd.Start())
	awaitReencryption(t, data)
	require.NotContains(t, said.String(), "no server")
	p.kill()
	soon(t, func() bool { return strings.Contains(said.String(), "no server works on the rotation") })
	serve(t, data)
	require.NoError(t, cmd.Wait())
	require.Regexp(t, `"clinic" +grace `, out.String())
	require.Equal(t, 1, strings.Count(said.String(), "no server"))
}
