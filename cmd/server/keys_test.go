package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// coffer runs a command that must succeed, and returns its standard output.
func coffer(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	cmd := program(t, environ, args...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	require.NoError(t, cmd.Run(), "%s%s", &out, &log)
	return out.String()
}

// refused runs a command that must fail, and returns all of its output.
func refused(t *testing.T, environ []string, input string, args ...string) string {
	t.Helper()
	cmd := program(t, environ, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	require.Error(t, err, string(out))
	require.Contains(t, exitCodes, cmd.ProcessState.ExitCode(), string(out))
	return string(out)
}

const (
	masterA = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	masterB = "ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A="
)

// keyFile writes a key file and returns its URL.
func keyFile(t *testing.T, master string) string {
	path := filepath.Join(t.TempDir(), "new.key")
	require.NoError(t, os.WriteFile(path, []byte(master), 0o600))
	return "file://" + path
}

func tokenFor(t *testing.T, environ []string, data, tenant string) string {
	t.Helper()
	out := coffer(t, environ, "token", "create", "--data", data, "--tenant", tenant, "--scopes", "cache:read,cache:write")
	return strings.TrimSpace(strings.TrimPrefix(out, "token:"))
}

// The command first asks for the tenant's id.
func TestShredReturnsWhenEveryServerRefuses(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	data, environ := t.TempDir(), []string{"REDIS_URL=redis://" + redis.Addr, "ENCRYPTION_MASTER_KEY=" + masterA}
	servers := []*process{serve(t, data, environ...), serve(t, data, environ...)}
	clinic, other := tokenFor(t, environ, data, "clinic"), tokenFor(t, environ, data, "other")
	for _, p := range servers {
		p.put(clinic, "patient-1", record)
		p.put(other, "patient-1", record)
		p.requireValue(clinic, "patient-1", record)
		p.requireValue(other, "patient-1", record)
	}
	raw := redis.Client(t).Get(t.Context(), onlyKey(t, redis, "clinic")).Val()

	shred := []string{"keys", "shred", "--data", data, "--tenant", "clinic"}
	for _, answer := range []string{"", "other\n", "yes\n", "clinic \n"} {
		out := refused(t, environ, answer, shred...)
		require.Contains(t, out, "nothing was changed")
		require.Contains(t, out, "cache entries and sessions: 1")
		require.Regexp(t, `cache +phi +1 `, out)
		require.Regexp(t, `last use in this audit log: 20\d\d-`, out)
	}
	require.Contains(t, refused(t, environ, "clinic\n", append(shred, "--confirm", "other")...), "nothing was changed")
	require.Contains(t, refused(t, environ, "x\n", "keys", "shred", "--data", data, "--tenant", "nobody"), "no keys")
	servers[0].requireValue(clinic, "patient-1", record)

	cmd := program(t, environ, shred...)
	cmd.Stdin = strings.NewReader("clinic\n")
	begun := time.Now()
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Greater(t, time.Since(begun), 2*keyring.CheckInterval, "in which the servers have seen it")
	require.Contains(t, string(out), "shredded: ")
	require.Contains(t, string(out), "cache entries and sessions deleted: 1")
	require.NoError(t, redis.Client(t).Set(t.Context(), strings.Replace(onlyKey(t, redis, "other"), "other", "clinic", 1), raw, 0).Err())
	for _, p := range servers {
		p.answers(http.StatusGone, clinic, "GET", "/v1/cache/patient-1", "")
		require.Equal(t, http.StatusGone, first(p.do(clinic, "PUT", "/v1/cache/patient-2?class=phi", record)))
		p.requireValue(other, "patient-1", record)
	}
	require.Contains(t, coffer(t, environ, append(shred, "--confirm", "clinic")...), "shredded already")
	log := auditLog(t, data)
	require.Contains(t, log, `"action":"tenant.shred","outcome":"ok","operation":"keys shred","tenant":"clinic"`)
	require.NotContains(t, log, record)
}

// A confirmation of one server is valid at the other.
func TestShredOverHTTPWorksAcrossServers(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	data, environ := t.TempDir(), []string{"REDIS_URL=redis://" + redis.Addr, "ENCRYPTION_MASTER_KEY=" + masterA, "COFFER_REQUEST_TIMEOUT=2500ms"}
	servers := []*process{serve(t, data, environ...), serve(t, data, environ...)}
	clinic, other := tokenFor(t, environ, data, "clinic"), tokenFor(t, environ, data, "other")
	operator := strings.TrimSpace(strings.TrimPrefix(coffer(t, environ, "token", "create", "--data", data, "--tenant", "*", "--scopes", "keys:admin"), "token:"))
	for i, p := range servers {
		p.answers(http.StatusNoContent, clinic, "PUT", fmt.Sprint("/v1/cache/patient-", i, "?class=phi"), record)
		p.answers(http.StatusNoContent, other, "PUT", "/v1/cache/patient-1?class=phi", record)
	}
	const path, shred = "/v1/keys:shred", `{"tenant":"clinic"}`
	status, body := servers[0].do(operator, "POST", path, shred)
	require.Equal(t, http.StatusOK, status, body)
	var preview struct{ Confirmation string }
	require.NoError(t, json.Unmarshal([]byte(body), &preview))
	confirmed := `{"tenant":"clinic","confirm":"` + preview.Confirmation + `"}`
	for i, p := range servers {
		require.Equal(t, record, p.answers(http.StatusOK, clinic, "GET", fmt.Sprint("/v1/cache/patient-", i), ""))
	}
	require.Equal(t, http.StatusForbidden, first(servers[1].do(servers[0].token, "POST", path, confirmed)))
	begun := time.Now()
	status, body = servers[1].do(operator, "POST", path, confirmed)
	require.Equal(t, http.StatusOK, status, body)
	require.Greater(t, time.Since(begun), 2*keyring.CheckInterval, "in which the other server has seen it")
	require.Contains(t, body, `"shredded":true,"changed":true`)
	for i, p := range servers {
		p.answers(http.StatusGone, clinic, "GET", fmt.Sprint("/v1/cache/patient-", i), "")
		p.answers(http.StatusGone, clinic, "PUT", "/v1/cache/patient-2?class=phi", record)
		require.Equal(t, record, p.answers(http.StatusOK, other, "GET", "/v1/cache/patient-1", ""))
	}
	log := auditLog(t, data)
	require.Regexp(t, `"action":"tenant.shred","outcome":"ok","requestId":"[^"]+","operation":"shredTenant","issuer":"coffer","subject":"[^"]+","tenant":"clinic"`, log)
}

func first(status int, _ string) int { return status }

// onlyKey is the one key of a tenant in Redis.
func onlyKey(t *testing.T, redis *redistest.Server, tenant string) string {
	t.Helper()
	keys := redis.Client(t).Keys(t.Context(), "coffer/"+tenant+"/*").Val()
	require.Len(t, keys, 1)
	return keys[0]
}

// The server is restarted once. The former KEK opens nothing at the end.
func TestRewrapBesideARunningServer(t *testing.T) {
	t.Parallel()
	data, former, next := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}, []string{"ENCRYPTION_MASTER_KEY=" + masterB}
	p := serve(t, data, former...)
	p.put(p.token, "patient-1", record)
	token, to := p.token, keyFile(t, masterB)
	rewrap := func(args ...string) []string { return append([]string{"keys", "rewrap", "--data", data}, args...) }

	require.Contains(t, refused(t, former, "", rewrap("--to", "base64key://"+masterB)...), "must not be a key")
	require.NotContains(t, refused(t, former, "", rewrap("--to", "base64key://"+masterB)...), masterB)
	require.Contains(t, refused(t, former, "", rewrap("--to", "phi="+to)...), "lacks the general KEK")
	require.Contains(t, refused(t, former, "", rewrap("--to", to, "--finish")...), "was not rewrapped to this KEK: run the rewrap first")
	require.Contains(t, coffer(t, former, rewrap("--to", to, "--dry-run")...), "roots that would be wrapped: 2\n")
	require.Regexp(t, `^roots under base64key://[0-9a-f]{16}: 2\n$`, coffer(t, former, rewrap("--status")...))
	require.Contains(t, coffer(t, former, rewrap("--to", to, "--reason", "schedule")...), "roots wrapped: 2\n")
	p.requireValue(token, "patient-1", record)
	clinic := tokenFor(t, former, data, "clinic")
	p.put(clinic, "patient-2", record)
	require.Contains(t, refused(t, former, "", rewrap("--to", to, "--finish")...), `tenant "clinic": `)
	require.Zero(t, p.stop(syscall.SIGTERM))

	p = serve(t, data, next...)
	p.requireValue(token, "patient-1", record)
	require.Contains(t, coffer(t, former, rewrap("--to", to, "--dry-run")...), "roots that would be wrapped: 1\n")
	require.Contains(t, coffer(t, former, rewrap("--to", to)...), "roots wrapped: 1\n")
	p.requireValue(clinic, "patient-2", record)
	require.Regexp(t, `^roots under base64key://[0-9a-f]{16} and base64key://[0-9a-f]{16}: 3\n$`, coffer(t, next, rewrap("--status")...))
	require.Contains(t, coffer(t, next, rewrap("--to", to, "--finish")...), "slots retired: 3")
	require.Contains(t, coffer(t, next, rewrap("--to", to, "--finish")...), "slots retired: 0", "a repetition changes nothing")
	require.Zero(t, p.stop(syscall.SIGTERM))
	require.Contains(t, fails(t, program(t, former, "serve", "--listen", "127.0.0.1:0", "--data", data)), "is not the key")
	p = serve(t, data, next...)
	p.requireValue(token, "patient-1", record)
	p.requireValue(clinic, "patient-2", record)
	log := auditLog(t, data)
	require.Regexp(t, `"action":"kek.rewrap"[^\n]*"phase":"begin","reason":"schedule"`, log)
}

func TestRestoreTakesABackupUnderAFormerKEK(t *testing.T) {
	t.Parallel()
	data, former, next := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}, []string{"ENCRYPTION_MASTER_KEY=" + masterB}
	p := serve(t, data, former...)
	p.put(p.token, "patient-1", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	path, from, to := filepath.Join(t.TempDir(), "backup"), keyFile(t, masterA), keyFile(t, masterB)
	coffer(t, former, "keys", "backup", "--data", data, "--out", path)
	coffer(t, former, "keys", "rewrap", "--data", data, "--to", to)
	coffer(t, former, "keys", "rewrap", "--data", data, "--to", to, "--finish")
	require.NoError(t, os.RemoveAll(filepath.Join(data, "keys")))

	restore := []string{"keys", "restore", "--data", data, "--in", path}
	require.Contains(t, refused(t, next, "", restore...), "not by the configured")
	said := refused(t, next, "", append(restore, "--former-kek", "base64key://"+masterA)...)
	require.Contains(t, said, "--former-kek must not be a key")
	require.NotContains(t, said, masterA)
	require.Contains(t, coffer(t, next, "keys", "drill", "--data", data, "--in", path, "--former-kek", from), "nothing is missing")
	require.Contains(t, coffer(t, next, append(restore, "--former-kek", from)...), `tenant "default": back`)
	require.Contains(t, fails(t, program(t, next, "serve", "--listen", "127.0.0.1:0", "--data", data)), "is not the key")
	rewrap := []string{"keys", "rewrap", "--data", data, "--to", to, "--former-kek", from}
	require.Contains(t, refused(t, next, "", append(rewrap, "--finish")...), `run the rewrap first`)
	require.Contains(t, coffer(t, next, rewrap...), "roots wrapped: ")
	require.Contains(t, coffer(t, next, append(rewrap, "--finish")...), "slots retired: ")
	p = serve(t, data, next...)
	p.requireValue(tokenFor(t, next, data, "default"), "patient-1", record)
}

// A drill proves the backup first. A backup is never overwritten.
func TestRestoreBringsBackALostKeystore(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	p := serve(t, data, environ...)
	clinic := tokenFor(t, environ, data, "clinic")
	p.put(p.token, "patient-1", record)
	p.put(clinic, "patient-2", record)
	path := filepath.Join(t.TempDir(), "backup")
	require.Contains(t, coffer(t, environ, "keys", "backup", "--data", data, "--out", path), "tenants: 2\n")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Contains(t, refused(t, environ, "", "keys", "backup", "--data", data, "--out", path), "never overwritten")
	require.Contains(t, coffer(t, environ, "keys", "drill", "--data", data, "--in", path), "nothing is missing")
	coffer(t, environ, "keys", "shred", "--data", data, "--tenant", "clinic", "--confirm", "clinic", "--reason", "policy")
	log := auditLog(t, data)
	require.Regexp(t, `"action":"tenant.shred"[^\n]*"reason":"policy"`, log)
	require.Zero(t, p.stop(syscall.SIGTERM))

	require.NoError(t, os.RemoveAll(filepath.Join(data, "keys")))
	require.Contains(t, fails(t, program(t, environ, "serve", "--listen", "127.0.0.1:0", "--data", data)), "restore them")
	require.Contains(t, coffer(t, environ, "keys", "drill", "--data", data, "--in", path), "nothing is missing", "as docs/recovery.md has it")
	require.Contains(t, fails(t, program(t, environ, "serve", "--listen", "127.0.0.1:0", "--data", data)), "restore them")
	restore := []string{"keys", "restore", "--data", data, "--in", path}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	cut := filepath.Join(t.TempDir(), "cut")
	require.NoError(t, os.WriteFile(cut, content[:len(content)-1], 0o600))
	require.Contains(t, refused(t, environ, "", "keys", "restore", "--data", data, "--in", cut), "cut short")
	require.Contains(t, refused(t, []string{"ENCRYPTION_MASTER_KEY=" + masterB}, "", restore...), "not by the configured")
	require.Contains(t, refused(t, nil, "", restore...), "no master key is configured")
	require.NoFileExists(t, filepath.Join(data, "master.key"))
	require.Contains(t, refused(t, append(environ, "COFFER_ENVIRONMENT=prod"), "", restore...), "COFFER_ENVIRONMENT")
	require.Contains(t, coffer(t, environ, append(restore, "--dry-run")...), "would change: 2 tenants")
	out := coffer(t, environ, restore...)
	require.Contains(t, out, `tenant "clinic": shredded since the backup`)
	require.Contains(t, out, "changed: 2 tenants")
	p = serve(t, data, environ...)
	p.requireValue(tokenFor(t, environ, data, "default"), "patient-1", record)
	require.Equal(t, http.StatusUnauthorized, first(p.do(clinic, "GET", "/v1/cache/patient-2", "")), "tokens are not in backups")
	require.Equal(t, http.StatusGone, first(p.accepted(tokenFor(t, environ, data, "clinic"), "GET", "/v1/cache/patient-2", "")))

	list := filepath.Join(t.TempDir(), "shredded")
	require.NoError(t, os.WriteFile(list, []byte("\ufeffdefault\r\nnobody\n"), 0o600))
	unknown := refused(t, environ, "", append(restore, "--shredded", list)...)
	require.Contains(t, unknown, `["nobody"]`)
	require.Contains(t, unknown, "correct it, or take it out")
	require.NoError(t, os.WriteFile(list, []byte("\ufeffdefault\r\n"), 0o600))
	require.Contains(t, refused(t, environ, "", append(restore, "--shredded", list, "--dry-run")...), "shred it again")
	require.Zero(t, p.stop(syscall.SIGTERM))
	require.NoError(t, os.RemoveAll(filepath.Join(data, "keys")))
	require.Contains(t, coffer(t, environ, append(restore, "--shredded", list, "--dry-run")...), `tenant "default": shredded`)
}

// If the log was moved away, the error names the command to continue with.
func TestRestoreRefusesAForgedShredding(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	p := serve(t, data, environ...)
	p.put(p.token, "patient-1", record)
	for _, tenant := range []string{"clinic-0", "clinic-1", "clinic-2"} {
		p.put(tokenFor(t, environ, data, tenant), "patient-1", record)
	}
	require.Zero(t, p.stop(syscall.SIGTERM))
	path := filepath.Join(t.TempDir(), "backup")
	coffer(t, environ, "keys", "backup", "--data", data, "--out", path)
	log := firstFile(data)
	good := logFile(log).String()
	forged := `{"v":1,"chain":1,"seq":999,"time":"2026-11-30T00:00:00.000Z","severity":"notice","action":"tenant.shred","outcome":"ok","tenant":"default","mac":"` +
		strings.Repeat("0", 64) + "\"}\n"
	restore := []string{"keys", "restore", "--data", data, "--in", path}
	elsewhere, unproven := filepath.Join(t.TempDir(), "audit"), filepath.Join(t.TempDir(), "file")
	for i, text := range []string{forged, `{"time":"2026-11-30T00:00:00.000Z","action":"tenant.shred","outcome":"ok","tenant":"default"}` + "\n", strings.Repeat("\x00", 2<<20) + forged} {
		require.NoError(t, os.WriteFile(log, []byte(good+text), 0o600))
		require.Contains(t, refused(t, environ, "", restore...), "--unproven-audit-log")
		tenant := fmt.Sprint("clinic-", i)
		require.Contains(t, coffer(t, environ, "keys", "shred", "--data", data, "--tenant", tenant, "--confirm", tenant), "last use in this audit log: ")
		require.NoError(t, os.RemoveAll(elsewhere))
		require.NoError(t, os.Rename(filepath.Join(data, "audit"), elsewhere))
		require.Contains(t, refused(t, environ, "", append(restore, "--dry-run")...), "coffer audit begin")
		coffer(t, environ, "audit", "begin", "--data", data)
		require.Contains(t, coffer(t, environ, append(restore, "--dry-run")...), "would change: 0 tenants")
		require.Contains(t, refused(t, environ, "", append(restore, "--audit-log", elsewhere)...), "the audit log was altered")
		good = logFile(log).String()
	}
	require.NoError(t, os.WriteFile(unproven, []byte("default\n"), 0o600))
	require.Contains(t, refused(t, environ, "", append(restore, "--shredded", unproven, "--dry-run")...), `tenant "default": the tenant was shredded, or keys`)
	p = serve(t, data, environ...)
	p.requireValue(tokenFor(t, environ, data, "default"), "patient-1", record)
}

func TestDocumentedKeyCommandsExist(t *testing.T) {
	t.Parallel()
	for name, least := range map[string]int{"recovery": 8, "rotation": 3} {
		page, err := os.ReadFile("../../docs/" + name + ".md")
		require.NoError(t, err)
		commands := regexp.MustCompile("(?m)(?:^|`)(coffer [a-z ]+)( --[^#`\n]*)").FindAllStringSubmatch(string(page), -1)
		require.Greater(t, len(commands), least)
		for _, c := range commands {
			help := coffer(t, nil, append(strings.Fields(c[1])[1:], "--help")...)
			for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(c[2], -1) {
				require.Contains(t, help, flag+" ", c[0])
			}
		}
	}
}

// List and backup name it.
func TestOneDamagedKeysetDoesNotHideOthers(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	p := serve(t, data, environ...)
	p.put(tokenFor(t, environ, data, "clinic"), "patient", record)
	p.put(p.token, "patient", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	store := keysIn(t, data)
	keystoretest.Put(t, store, keystore.Keysets, "a", []byte("damaged"))
	file := filepath.Join(t.TempDir(), "backup")
	run := func(args ...string) (out, said string) {
		t.Helper()
		cmd := program(t, environ, append(args, "--data", data)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		require.Error(t, cmd.Run())
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), stderr.String())
		require.Contains(t, stderr.String(), `keyset "a"`)
		return stdout.String(), stderr.String()
	}
	out, _ := run("keys", "list")
	require.Regexp(t, `(?m)^"clinic" +cache +phi `, out)
	require.Regexp(t, `(?m)^"default" +cache +phi `, out)
	out, _ = run("keys", "list", "--json")
	require.Contains(t, out, `"tenant": "clinic"`)
	out, said := run("keys", "backup", "--out", file)
	require.Contains(t, out, "tenants: 2\n")
	require.Contains(t, said, "1 keysets cannot be read and were left out")
	out, _ = run("keys", "backup", "--json", "--out", file+".json")
	require.Contains(t, out, `"code": "authentication_failed"`)
	keyset, err := store.Get(t.Context(), keystore.Keysets, "clinic")
	require.NoError(t, err)
	altered := bytes.Clone(keyset)
	altered[bytes.Index(keyset, []byte("base64key://"))+len("base64key://")+16+2+3] ^= 1 // the key id of the KEK, in the wrapped root
	keystoretest.Put(t, store, keystore.Keysets, "clinic", altered)
	out, said = run("keys", "backup", "--out", file+".altered")
	require.Contains(t, out, "tenants: 2\n")
	require.Contains(t, said, "1 keysets do not open, and were copied as they are")
	require.Contains(t, said, `tenant "clinic"`)
	copied, err := os.ReadFile(file + ".altered")
	require.NoError(t, err)
	require.Contains(t, string(copied), string(altered))
	for _, path := range []string{file, file + ".json"} {
		require.Contains(t, coffer(t, environ, "keys", "drill", "--data", data, "--in", path), "tenants: 2, of them shredded: 0\n")
	}
}
