package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
)

var tokenID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// createToken runs coffer token create and returns the token and its id.
func createToken(t *testing.T, data string, flags ...string) (token, id string) {
	t.Helper()
	cmd := program(t, nil, append([]string{"token", "create", "--data", data}, flags...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	token, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "token: ")
	require.True(t, ok)
	id, _, _ = strings.Cut(strings.TrimPrefix(stderr.String(), "id "), ",")
	require.Regexp(t, tokenID, id)
	require.NotContains(t, stderr.String(), token)
	return token, id
}

// listTokens runs coffer token list and returns its lines, without the headings.
func listTokens(t *testing.T, data string, environ ...string) []string {
	t.Helper()
	out, err := program(t, environ, "token", "list", "--data", data).Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Regexp(t, `^ID +NAME +TENANT +SCOPES +CREATED +EXPIRES +LAST USED$`, lines[0])
	return lines[1:]
}

func TestTokensAreCreatedAndRevokedBesideAServer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	p.put(p.token, "k", record)
	fresh, id := createToken(t, data, "--name", "billing")
	require.NotEqual(t, p.token, fresh)
	p.answers(http.StatusOK, fresh, "GET", "/v1/cache/k", "")
	p.requireValue(p.token, "k", record)

	list := listTokens(t, data)
	require.Len(t, list, 2)
	var listed []map[string]any
	require.NoError(t, json.Unmarshal([]byte(coffer(t, nil, "token", "list", "--data", data, "--json")), &listed))
	require.Len(t, listed, 2)
	require.Equal(t, []any{id, "billing", "default", []any{"cache:read", "cache:write"}, false, nil}, []any{
		listed[1]["id"], listed[1]["name"], listed[1]["tenant"], listed[1]["scopes"], listed[1]["expired"], listed[1]["expiresAt"],
	})
	today := time.Now().UTC().Format("2006-01-02")
	require.Regexp(t, `"first start" +"default" +cache:read,.*metrics:read +`+today+`T\S+ +never +\S+`, list[0])
	require.Regexp(t, `^`+id+` +"billing" +"default" +cache:read,cache:write +`+today, list[1])

	require.NoError(t, program(t, nil, "token", "revoke", "--data", data, id).Run())
	require.Contains(t, p.answers(http.StatusUnauthorized, fresh, "GET", "/v1/cache/k", ""), `"code":"unauthorized"`)
	p.requireValue(p.token, "k", record)
	require.Len(t, listTokens(t, data), 1)
	require.Contains(t, fails(t, program(t, nil, "token", "revoke", "--data", data, id)), "no token has that id")

	first, _, _ := strings.Cut(list[0], " ")
	require.NoError(t, program(t, nil, "token", "revoke", "--data", data, first).Run())
	p.answers(http.StatusUnauthorized, p.token, "GET", "/v1/cache/k", "")
	require.Empty(t, listTokens(t, data))
	require.NotContains(t, p.log.String(), fresh)
}

func TestServerRecordsTheHourOfTheLastUse(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	p.put(p.token, "k", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	require.Regexp(t, time.Now().UTC().Format("2006-01-02")+`T\d\dZ$`, listTokens(t, data)[0])
}

// It creates no token, because the environment is not new.
func TestServerWithoutAValidTokenNamesTheCommand(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	first := strings.Fields(listTokens(t, data)[0])[0]
	require.Zero(t, p.stop(syscall.SIGTERM))
	keystoretest.DeleteSilently(t, filepath.Join(data, "keys"), keystore.Tokens, first)

	again := serve(t, data)
	require.Empty(t, again.token)
	require.Equal(t, []string{"no token is valid: create one by `coffer token create --data " + data + "`"}, again.said)
	again.logs(`"level":"WARN","msg":"no token is valid`)
	again.answers(http.StatusUnauthorized, p.token, "GET", "/v1/cache/k", "")
	fresh, _ := createToken(t, data)
	again.answers(http.StatusNotFound, fresh, "GET", "/v1/cache/k", "")
}

func TestAlteredTokenIsRefusedAndReported(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	fresh, id := createToken(t, data)
	p.answers(http.StatusNotFound, fresh, "GET", "/v1/cache/k", "")
	require.Contains(t, coffer(t, nil, "audit", "verify", "--data", data), "tokens: 2, all as they were recorded")
	store, err := sqlitekeys.Open(filepath.Join(data, "keys"))
	require.NoError(t, err)
	defer store.Close()
	content, err := store.Get(t.Context(), keystore.Tokens, id)
	require.NoError(t, err)
	keystoretest.Put(t, store, keystore.Tokens, id, bytes.Replace(content, []byte(`"default"`), []byte(`"another"`), 1))

	p.answers(http.StatusUnauthorized, fresh, "GET", "/v1/cache/k", "")
	require.Regexp(t, `(?m)^`+id+` +altered *$`, strings.Join(listTokens(t, data), "\n"))
	soon(t, func() bool {
		return strings.Contains(auditLog(t, data), `"severity":"critical","action":"token.altered","outcome":"failed","code":"authentication_failed","operation":"serve","issuer":"coffer","subject":"`+id+`"`)
	})
	require.Equal(t, 1.0, p.metric(`coffer_tokens{state="altered"}`))
	require.Equal(t, 1.0, p.metric(`coffer_integrity_failures_total{class="none"}`))
	p.logs(`"level":"ERROR","msg":"a token's document in the keystore was altered or removed"`)
	requireFinding := func(finding string) {
		t.Helper()
		out, err := program(t, nil, "audit", "verify", "--data", data).Output()
		require.Error(t, err)
		require.Contains(t, string(out), finding)
	}
	requireFinding("token " + id + ": altered")

	// A running server does not accept a revoked token again. A server that starts later does, and the audit log reveals it.
	require.NoError(t, program(t, nil, "token", "revoke", "--data", data, id).Run())
	require.Contains(t, coffer(t, nil, "audit", "verify", "--data", data), "tokens: 1, all as they were recorded")
	require.Zero(t, p.stop(syscall.SIGTERM))
	keystoretest.Put(t, store, keystore.Tokens, id, content)
	requireFinding("token " + id + ": returned")
}

func TestServersSeeEachOthersTokensWithinThreeSeconds(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA, "COFFER_KEYS_REDIS_URL=redis://" + redis.Addr, "REDIS_URL=redis://" + redis.Addr + "/1"}
	first, second := t.TempDir(), t.TempDir()
	p, q := serve(t, first, environ...), serve(t, second, environ...)
	require.NotEmpty(t, p.token)
	require.Empty(t, q.token, "of one environment, one first token is made")
	begin := time.Now()
	q.answers(http.StatusNotFound, p.token, "GET", "/v1/cache/k", "")
	t.Logf("a creation took %s", time.Since(begin))

	id := strings.Fields(listTokens(t, second, environ...)[0])[0]
	require.NoError(t, program(t, environ, "token", "revoke", "--data", second, id).Run())
	begin = time.Now()
	for _, one := range []*process{p, q} {
		one.answers(http.StatusUnauthorized, p.token, "GET", "/v1/cache/k", "")
	}
	t.Logf("a revocation took %s", time.Since(begin))
}

func TestTokenFlagsLimitTheToken(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	require.Zero(t, serve(t, data).stop(syscall.SIGTERM)) // a running server deletes expired tokens
	for flags, shows := range map[string]string{
		"--scopes all --expires never":                 `"default" +cache:read,cache:write,package:encrypt,package:decrypt,keys:admin,audit:read,metrics:read +\S+ +never +not yet`,
		"--scopes audit:read --tenant clinic":          `"clinic" +audit:read +\S+ +never`,
		"--expires 90d":                                `cache:write +\S+ +` + time.Now().UTC().Add(90*24*time.Hour).Format("2006-01-02"),
		"--expires 12h --scopes cache:read,keys:admin": `cache:read,keys:admin +\S+ +` + time.Now().UTC().Add(12*time.Hour).Format("2006-01-02"),
	} {
		_, id := createToken(t, data, strings.Fields(flags)...)
		require.Regexp(t, `(?m)^`+id+` .*`+shows, strings.Join(listTokens(t, data), "\n"))
	}
	_, id := createToken(t, data, "--expires", "1s")
	expired := regexp.MustCompile(`(?m)^` + id + ` .* expired +not yet`)
	soon(t, func() bool { return expired.MatchString(strings.Join(listTokens(t, data), "\n")) })
}

// The events contain nothing that opens data.
func TestTokenCommandsAreAudited(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	fresh, id := createToken(t, data, "--tenant", "clinic")
	require.NoError(t, program(t, nil, "token", "revoke", "--data", data, id).Run())
	fails(t, program(t, nil, "token", "revoke", "--data", data, "pl4nted"))
	p.put(p.token, "k", record)

	log := auditLog(t, data)
	first := strings.Fields(listTokens(t, data)[0])[0]
	for _, event := range []string{
		`"action":"token.create".*"operation":"serve","issuer":"coffer","subject":"` + first + `","tenant":"default"`,
		`"action":"token.create".*"operation":"token create","issuer":"coffer","subject":"` + id + `","tenant":"clinic"`,
		`"action":"token.revoke".*"operation":"token revoke","issuer":"coffer","subject":"` + id + `","tenant":"clinic"`,
	} {
		require.Regexp(t, event, log)
	}
	require.Equal(t, 3, strings.Count(log, `"action":"token.`))
	require.Contains(t, log, `"action":"key.seal"`, "the server wrote on behind them")
	for _, secret := range []string{fresh, p.token, "pl4nted"} {
		require.NotContains(t, log, secret)
	}
}

// COFFER_AUDIT_ON_FAILURE=continue allows it.
func TestNoTokenIsCreatedWithoutTheAuditLog(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	key := "ENCRYPTION_MASTER_KEY=" + masterA
	require.NoError(t, program(t, []string{key}, "token", "create", "--data", data).Run())
	require.NoError(t, os.Remove(firstFile(data)))
	require.NoError(t, os.Symlink("/dev/full", firstFile(data)))
	said := fails(t, program(t, []string{key}, "token", "create", "--data", data))
	require.Contains(t, said, "nothing was changed, since it cannot be recorded")
	require.Len(t, listTokens(t, data, key), 1)
	require.NoError(t, program(t, []string{key, "COFFER_AUDIT_ON_FAILURE=continue"}, "token", "create", "--data", data).Run())
	require.Len(t, listTokens(t, data, key), 2)
}

// A server with other settings would refuse it.
func TestTokenCommandsCreateNoMasterKey(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for _, command := range []string{"create", "list"} {
		require.Contains(t, fails(t, program(t, nil, "token", command, "--data", data)), "no master key is configured")
	}
	require.NoFileExists(t, filepath.Join(data, "master.key"))
	require.NoFileExists(t, filepath.Join(data, "audit", "chains"))

	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	require.NoError(t, program(t, environ, "token", "create", "--data", data).Run())
	require.Empty(t, serve(t, data, environ...).token, "there is a token")
}

// The error does not quote the flag, which may be a token, and nothing is created.
func TestTokenCommandsRefuseBadFlags(t *testing.T) {
	t.Parallel()
	const planted = "coffer_pl4nted"
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	for flags, says := range map[string]string{
		"create --scopes " + planted:            "--scopes: ",
		"create --scopes cache:read," + planted: "unknown scope",
		"create --scopes all,cache:read":        "unknown scope",
		"create --scopes=":                      "unknown scope",
		"create --scopes=\"" + planted:          "unknown scope",
		"create --expires " + planted:           "--expires takes",
		"create --expires 0":                    "--expires takes",
		"create --expires -1h":                  "--expires takes",
		"create --expires 36501d":               "--expires takes",
		"create --expires 99999999d":            "--expires takes",
		"create --tenant=":                      "a token needs",
		"create --name \x1b" + planted:          "a token needs",
		"create " + planted:                     "no arguments",
		"list " + planted:                       "no arguments",
		"revoke":                                "the id of one token",
		"revoke a " + planted:                   "the id of one token",
		"revoke " + planted:                     "no token has that id",
	} {
		said := fails(t, program(t, environ, append(append([]string{"token"}, strings.Split(flags, " ")...), "--data", data)...))
		require.Contains(t, said, says, flags)
		require.NotContains(t, said, planted, flags)
	}
	require.Empty(t, listTokens(t, data, environ...))
}

func TestTokenCommandsNeedAnExistingDataDirectory(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	for _, args := range [][]string{{"create"}, {"list"}, {"revoke", "x"}} {
		said := fails(t, program(t, nil, append(append([]string{"token"}, args...), "--data", missing)...))
		require.Contains(t, said, "there is no data directory")
	}
	require.NoDirExists(t, missing)
}
