package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
func listTokens(t *testing.T, data string) []string {
	t.Helper()
	out, err := program(t, nil, "token", "list", "--data", data).Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Regexp(t, `^ID +NAME +TENANT +SCOPES +CREATED +EXPIRES +LAST USED$`, lines[0])
	return lines[1:]
}

// TestTokensOfARunningServer: tokens are made and revoked while it runs, each of them for itself and at once.
func TestTokensOfARunningServer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	p.put(p.token, "k", record)
	fresh, id := createToken(t, data, "--name", "billing")
	require.NotEqual(t, p.token, fresh)
	p.requireValue(fresh, "k", record)
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
	require.Regexp(t, `"first start" +"default" +cache:read,.*metrics:read +`+today+`T\S+ +never +`+today+`T\d\dZ$`, list[0])
	require.Regexp(t, `^`+id+` +"billing" +"default" +cache:read,cache:write +`+today, list[1])

	require.NoError(t, program(t, nil, "token", "revoke", "--data", data, id).Run())
	status, body := p.do(fresh, "GET", "/v1/cache/k", "")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, body, `"code":"unauthorized"`)
	p.requireValue(p.token, "k", record)
	require.Len(t, listTokens(t, data), 1)
	require.Contains(t, fails(t, program(t, nil, "token", "revoke", "--data", data, id)), "no token has that id")

	first, _, _ := strings.Cut(list[0], " ")
	require.NoError(t, program(t, nil, "token", "revoke", "--data", data, first).Run())
	status, _ = p.do(p.token, "GET", "/v1/cache/k", "")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Empty(t, listTokens(t, data))
	require.NotContains(t, p.log.String(), fresh)
}

func TestTokenFlags(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	serve(t, data)
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

// TestTokensAreAudited: who administers leaves a trace in the log of the server, which runs on, and nothing
// that opens anything.
func TestTokensAreAudited(t *testing.T) {
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

// TestUnrecordedToken: without a log no token is made, unless the operator said that the log may fail.
func TestUnrecordedToken(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	key := "ENCRYPTION_MASTER_KEY=" + masterA
	require.NoError(t, program(t, []string{key}, "token", "create", "--data", data).Run())
	require.NoError(t, os.Remove(firstFile(data)))
	require.NoError(t, os.Symlink("/dev/full", firstFile(data)))
	said := fails(t, program(t, []string{key}, "token", "create", "--data", data))
	require.Contains(t, said, "nothing was changed, since it cannot be recorded")
	require.Len(t, listTokens(t, data), 1)
	require.NoError(t, program(t, []string{key, "COFFER_AUDIT_ON_FAILURE=continue"}, "token", "create", "--data", data).Run())
	require.Len(t, listTokens(t, data), 2)
}

// TestTokenMakesNoKey: a token made before the first start, without the service's settings, would otherwise
// leave a key that the service refuses.
func TestTokenMakesNoKey(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	require.Contains(t, fails(t, program(t, nil, "token", "create", "--data", data)), "no master key is configured")
	require.Empty(t, listTokens(t, data))
	require.NoFileExists(t, filepath.Join(data, "master.key"))
	require.NoFileExists(t, filepath.Join(data, "audit", "chains"))

	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	require.NoError(t, program(t, environ, "token", "create", "--data", data).Run())
	serve(t, data, environ...)
}

// TestBadTokenFlags: what is wrong is named and not quoted, since it may be a token, and nothing is made.
func TestBadTokenFlags(t *testing.T) {
	t.Parallel()
	const planted = "coffer_pl4nted"
	data := t.TempDir()
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
		"create --tenant=":                      "a token takes",
		"create --name \x1b" + planted:          "a token takes",
		"create " + planted:                     "no arguments",
		"list " + planted:                       "no arguments",
		"revoke":                                "the id of one token",
		"revoke a " + planted:                   "the id of one token",
		"revoke " + planted:                     "no token has that id",
	} {
		said := fails(t, program(t, nil, append(append([]string{"token"}, strings.Split(flags, " ")...), "--data", data)...))
		require.Contains(t, said, says, flags)
		require.NotContains(t, said, planted, flags)
	}
	require.NoFileExists(t, filepath.Join(data, "tokens.json"))
}

func TestTokensElsewhere(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	for _, args := range [][]string{{"create"}, {"list"}, {"revoke", "x"}} {
		said := fails(t, program(t, nil, append(append([]string{"token"}, args...), "--data", missing)...))
		require.Contains(t, said, "there is no data directory")
	}
	require.NoDirExists(t, missing)
}
