package main_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

const record = "Jane Doe, born 1970-01-01, allergic to penicillin"

// The first start prints the token, once.
func TestDataKeysAndTokenSurviveARestart(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "new", "data")
	first := serve(t, data)
	require.True(t, strings.HasPrefix(first.token, "coffer_"))
	first.logs("development") // the log warns of a master key in the data directory
	first.put(first.token, "patient-1", record)
	require.Zero(t, first.stop(syscall.SIGTERM), first.log)
	require.NoFileExists(t, filepath.Join(data, "cache", "LOCK"), "the store was closed")

	second := serve(t, data)
	require.Empty(t, second.token)
	second.requireValue(first.token, "patient-1", record)
	require.Zero(t, second.stop(os.Interrupt), second.log)

	for _, log := range []logFile{first.log, second.log} {
		require.NotContains(t, log.String(), first.token)
		require.NotContains(t, log.String(), "patient-1")
	}
	requirePrivate(t, data, record, first.token)
}

// requirePrivate checks that no file below a directory contains a secret in the clear, and that only the owner can read them.
func requirePrivate(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		if path == dir || filepath.Base(path) == "master.key" || filepath.Base(path) == "keys.db" {
			require.Zero(t, info.Mode().Perm()&0o077, path)
		}
		if entry.IsDir() {
			return nil
		}
		files++
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, secret := range secrets {
			require.False(t, bytes.Contains(content, []byte(secret)), "%s holds a secret in the clear", path)
		}
		return nil
	}))
	require.Greater(t, files, 3)
}

func TestAnsweredWritesSurviveAKill(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	for i := range 50 {
		p.put(p.token, fmt.Sprint("k", i), fmt.Sprint("value ", i))
	}
	p.put(p.token, "large", strings.Repeat("large", 1<<20))
	p.kill()

	again := serve(t, data)
	for i := range 50 {
		again.requireValue(p.token, fmt.Sprint("k", i), fmt.Sprint("value ", i))
	}
	again.requireValue(p.token, "large", strings.Repeat("large", 1<<20))
}

// It quotes none, and creates nothing.
func TestServerNamesEveryBadSetting(t *testing.T) {
	t.Parallel()
	const planted = "pl4nted"
	data := filepath.Join(t.TempDir(), "data")
	says := fails(t, program(t, []string{
		"ENCRYPTION_MASTER_KEY=" + planted, "KDF_ITERATIONS=" + planted, "REDIS_URL=http://:" + planted + "@h", "COFFER_ENVIRONMENT=" + planted + "!",
	}, "serve", "--data", data, "--listen", planted))
	for _, name := range []string{"ENCRYPTION_MASTER_KEY", "KDF_ITERATIONS", "REDIS_URL", "COFFER_ENVIRONMENT", "--listen"} {
		require.Contains(t, says, "- "+name+" ")
	}
	require.NotContains(t, says, planted)
	require.NoDirExists(t, data)

	require.NotContains(t, fails(t, program(t, nil, "serve", planted)), planted, "an argument may be a secret")
	require.Contains(t, fails(t, program(t, nil, "serve", "--data", "/dev/null/data")), "data directory")
}

// A server starts again with the same key or passphrase only, and reads its data then.
func TestServeRefusesAnotherMasterKey(t *testing.T) {
	t.Parallel()
	for variable, secrets := range map[string][2]string{
		"ENCRYPTION_MASTER_KEY": {masterA, masterB}, "ENCRYPTION_PASSPHRASE": {"correct horse battery staple", "correct horse battery stapler"},
	} {
		t.Run(variable, func(t *testing.T) {
			data, key, other := t.TempDir(), variable+"="+secrets[0], variable+"="+secrets[1]
			p := serve(t, data, key, "KDF_ITERATIONS=1000")
			p.logs("KDF_ITERATIONS is below the minimum")
			p.logs("THE KEK IS LOCAL")
			require.NoFileExists(t, filepath.Join(data, "master.key"))
			p.put(p.token, "k", record)
			require.Zero(t, p.stop(syscall.SIGTERM))

			says := fails(t, program(t, []string{other}, "serve", "--data", data, "--listen", "127.0.0.1:0"))
			require.Regexp(t, variable+" is not the (key|passphrase) that the keys in .* were made with", says)
			says = fails(t, program(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0"))
			require.Contains(t, says, "set ENCRYPTION_MASTER_KEY or ENCRYPTION_PASSPHRASE")
			require.NoFileExists(t, filepath.Join(data, "master.key"), "no new key is made beside keys of another")
			says = fails(t, program(t, []string{key, "COFFER_ENVIRONMENT=staging", "COFFER_PRODUCTION=false"}, "serve", "--data", data, "--listen", "127.0.0.1:0"))
			require.Contains(t, says, "COFFER_ENVIRONMENT")

			again := serve(t, data, key, "KDF_ITERATIONS=700000")
			again.requireValue(p.token, "k", record)
			require.NotContains(t, p.log.String()+again.log.String(), secrets[0])
		})
	}
}

// testdata/passphrase-keys.db was written while ENCRYPTION_MASTER_KEY still took passphrases.
func TestPassphraseOpensAnEarlierKeystore(t *testing.T) {
	t.Parallel()
	const passphrase = "correct horse battery staple"
	data := t.TempDir()
	keys, err := os.ReadFile("testdata/passphrase-keys.db")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(data, "keys"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(data, "keys", "keys.db"), keys, 0o600))
	said := fails(t, program(t, []string{"ENCRYPTION_MASTER_KEY=" + passphrase}, "serve", "--data", data, "--listen", "127.0.0.1:0"))
	require.Contains(t, said, "for a passphrase, set ENCRYPTION_PASSPHRASE")
	require.Contains(t, coffer(t, []string{"ENCRYPTION_PASSPHRASE=" + passphrase}, "kms", "check", "--data", data), "opened: the keys of a tenant")
}

// A file with the same key opens the same data.
func TestMasterKeyCommand(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	data, file, printer := filepath.Join(directory, "data"), filepath.Join(directory, "key"), filepath.Join(directory, "program")
	require.NoError(t, os.WriteFile(file, []byte(masterA+"\n"), 0o600))
	require.NoError(t, os.WriteFile(printer, []byte("#!/bin/sh\nexec cat \"$1\"\n"), 0o700))
	p := serve(t, data, "COFFER_MASTER_KEY_COMMAND="+printer+" "+file)
	p.put(p.token, "k", record)
	require.NotContains(t, p.log.String(), masterA)
	require.Zero(t, p.stop(syscall.SIGTERM))
	again := serve(t, data, "ENCRYPTION_MASTER_KEY_FILE="+file)
	again.requireValue(p.token, "k", record)
	require.Zero(t, again.stop(syscall.SIGTERM))
	says := fails(t, program(t, []string{"COFFER_MASTER_KEY_COMMAND=/bin/false"}, "serve", "--data", data, "--listen", "127.0.0.1:0"))
	require.Contains(t, says, "COFFER_MASTER_KEY_COMMAND: it failed (exit status 1)")
}

func TestServerRefusesAnotherMasterKeyFile(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	require.Zero(t, serve(t, data).stop(syscall.SIGTERM))
	other := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32))
	require.NoError(t, os.WriteFile(filepath.Join(data, "master.key"), []byte(other), 0o600))
	says := fails(t, program(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0"))
	require.Contains(t, says, "made with another master key: set ENCRYPTION_MASTER_KEY")
	require.NotContains(t, says, other)
}

// The audit logs of other hosts need the former keysets.
func TestSystemKeysAreNotReplacedBesideTenantsKeysets(t *testing.T) {
	t.Parallel()
	cache, keysets := redistest.Start(t), redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA, "REDIS_URL=redis://" + cache.Addr, "COFFER_KEYS_REDIS_URL=redis://" + keysets.Addr}
	data, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	require.Zero(t, serve(t, data, environ...).stop(syscall.SIGTERM))
	coffer(t, environ, "keys", "backup", "--data", data, "--out", backup)
	system := keysets.Client(t).Del(t.Context(), "{coffer-keys}/keyset/")
	require.EqualValues(t, 1, system.Val())
	require.NoError(t, keysets.Client(t).ZRem(t.Context(), "{coffer-keys}/names/keyset", "").Err())
	for _, command := range []string{"serve --listen 127.0.0.1:0", "token create", "keys list"} {
		require.Contains(t, fails(t, program(t, environ, append(strings.Fields(command), "--data", t.TempDir())...)), "the environment's own keys are missing", command)
	}
	other := t.TempDir()
	coffer(t, environ, "keys", "restore", "--data", other, "--in", backup)
	for _, dir := range []string{other, data} {
		require.Zero(t, serve(t, dir, environ...).stop(syscall.SIGTERM))
	}
	require.Contains(t, coffer(t, environ, "audit", "verify", "--data", data), "nothing was altered")
}

func TestMissingKeysAreNotReplaced(t *testing.T) {
	t.Parallel()
	cache, keysets := redistest.Start(t), redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	shared := []string{"ENCRYPTION_MASTER_KEY=" + masterA, "REDIS_URL=redis://" + cache.Addr}
	for name, environ := range map[string][]string{
		"embedded": shared[:1], "cache in Redis": shared, "keys in Redis": append(shared, "COFFER_KEYS_REDIS_URL=redis://"+keysets.Addr),
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			keys, elsewhere := filepath.Join(data, "keys"), filepath.Join(data, "elsewhere")
			serveRefused := func() {
				t.Helper()
				says := fails(t, program(t, environ, "serve", "--data", data, "--listen", "127.0.0.1:0"))
				require.Contains(t, says, "are missing from")
				require.Contains(t, says, "restore them")
				for _, command := range []string{"keys rewrap --status", "rotate --execute", "keys list", "kms check"} {
					require.Contains(t, refused(t, environ, "", append(strings.Fields(command), "--data", data)...), "are missing from", command)
				}
			}
			tokenFor(t, environ, data, "default") // the audit log's key is made before the first start
			if len(environ) < 3 {
				require.NoError(t, os.Rename(keys, elsewhere))
				serveRefused()
				require.NoError(t, os.Rename(elsewhere, keys))
			}
			require.Zero(t, serve(t, data, environ...).stop(syscall.SIGTERM))
			if len(environ) == 3 {
				require.NoError(t, keysets.Client(t).FlushAll(t.Context()).Err())
				serveRefused()
				return
			}
			require.NoError(t, os.Rename(keys, elsewhere))
			serveRefused()
			require.NoDirExists(t, keys)
			require.NoError(t, os.Mkdir(keys, 0o700))
			serveRefused()
			require.NoError(t, os.RemoveAll(keys))
			require.NoError(t, os.Rename(elsewhere, keys))
			require.Zero(t, serve(t, data, environ...).stop(syscall.SIGTERM))
		})
	}
}

func TestOneServerForEachDataDirectory(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	says := fails(t, program(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0"))
	require.Contains(t, says, "another server, or a command, uses "+data)
	address := strings.TrimPrefix(p.url, "http://")
	says = fails(t, program(t, nil, "serve", "--data", t.TempDir(), "--listen", address))
	require.Contains(t, says, "is in use by another program: give another address with --listen")
}

func TestRedisHasThePackagesAndTheDirectoryTheKeys(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.SetPassword("pl4nted")
	host, port, err := net.SplitHostPort(redis.Addr)
	require.NoError(t, err)
	data := filepath.Join(t.TempDir(), "data")
	byParts := serve(t, data, "REDIS_HOST="+host, "REDIS_PORT="+port, "REDIS_PASSWORD=pl4nted", "REDIS_DB=1")
	byParts.put(byParts.token, "k", record)
	require.Zero(t, byParts.stop(syscall.SIGTERM), byParts.log)

	byURL := serve(t, data, "REDIS_URL=redis://:pl4nted@"+redis.Addr+"/1")
	byURL.requireValue(byParts.token, "k", record)
	require.Zero(t, byURL.stop(syscall.SIGTERM), byURL.log)
	require.NotContains(t, byParts.log.String()+byURL.log.String(), "pl4nted")
	require.NoDirExists(t, filepath.Join(data, "cache"))
	requirePrivate(t, data, record, byParts.token, "pl4nted")
}

func TestServerStartsWithoutItsRedisAndRecovers(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.Stop()
	p := serve(t, t.TempDir(), "REDIS_URL=redis://"+redis.Addr)
	requireDown(t, p)
	redis.Restart()
	soon(t, func() bool { status, _ := p.do("", "GET", "/readyz", ""); return status == 200 })
	p.put(p.token, "k", record)
	p.requireValue(p.token, "k", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	for line := range strings.Lines(p.log.String()) {
		require.True(t, json.Valid([]byte(line)), "the log is JSON, whoever writes to it: %s", line)
	}
}

func requireDown(t *testing.T, p *process) {
	t.Helper()
	p.logs("Redis cannot be reached yet")
	for _, path := range []string{"/readyz", "/v1/cache/k"} {
		status, body := p.do(p.token, "GET", path, "")
		require.Equal(t, http.StatusServiceUnavailable, status, body)
		require.Contains(t, body, `"code":"store_unavailable"`)
	}
	status, _ := p.do("", "GET", "/livez", "")
	require.Equal(t, http.StatusOK, status)
}

// upload is a PUT of which half the body was sent.
type upload struct {
	conn net.Conn
	rest string
}

func beginUpload(t *testing.T, p *process, value string) *upload {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "PUT /v1/cache/upload?class=phi HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n",
		p.token, len(value))
	require.NoError(t, err)
	line := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n")) // the handler reads
	_, err = io.ReadFull(conn, line)
	require.NoError(t, err)
	_, err = io.WriteString(conn, value[:len(value)/2])
	require.NoError(t, err)
	return &upload{conn, value[len(value)/2:]}
}

// It accepts no new one.
func TestShutdownLetsAnUploadEnd(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	u := beginUpload(t, p, record)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	soon(t, func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})

	_, err := io.WriteString(u.conn, u.rest)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(u.conn), nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusNoContent, response.StatusCode)
	require.Zero(t, p.wait(), p.log)
	serve(t, data).requireValue(p.token, "upload", record)
}

func TestShutdownFailsReadinessFirst(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "COFFER_SHUTDOWN_DELAY=5m")
	address := strings.TrimPrefix(p.url, "http://")
	require.NoError(t, health(t, address).Run())
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	soon(t, func() bool {
		status, body := p.do("", "GET", "/readyz", "")
		return status == http.StatusServiceUnavailable && strings.Contains(body, `"code":"shutting_down"`)
	})
	p.put(p.token, "k", record)
	response, err := http.Get(p.url + "/livez")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.True(t, response.Close, "clients are told that the connection ends")
	require.Contains(t, fails(t, health(t, address)), "not ready: 503 shutting_down")
	require.NoError(t, health(t, address, "--live").Run())

	p = serve(t, t.TempDir(), "COFFER_SHUTDOWN_DELAY=1s")
	address = strings.TrimPrefix(p.url, "http://")
	begun := time.Now()
	require.Zero(t, p.stop(syscall.SIGTERM), p.log)
	require.GreaterOrEqual(t, time.Since(begun), time.Second)
	require.Contains(t, fails(t, health(t, address, "--live")), "no server answers")
	require.NotContains(t, p.log.String(), `"level":"ERROR"`, "a probe that is told so is no fault")
}

// health runs coffer health for an address.
func health(t *testing.T, address string, flags ...string) *exec.Cmd {
	t.Helper()
	return program(t, []string{"COFFER_LISTEN=" + address}, append([]string{"health"}, flags...)...)
}

func TestHealthFindsAServerThatListensEverywhere(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir())
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.url, "http://"))
	require.NoError(t, err)
	for _, host := range []string{"", "0.0.0.0", "127.0.0.1", "localhost"} {
		out, err := health(t, net.JoinHostPort(host, port)).Output()
		require.NoError(t, err, host)
		require.Equal(t, "ok\n", string(out))
	}
}

// A second signal ends the server at once.
func TestShutdownTimeoutEndsAnUpload(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "COFFER_SHUTDOWN_TIMEOUT=200ms")
	beginUpload(t, p, record)
	require.Equal(t, 1, p.stop(syscall.SIGTERM))
	require.Contains(t, p.log.String(), "COFFER_SHUTDOWN_TIMEOUT")

	impatient := serve(t, t.TempDir())
	beginUpload(t, impatient, record)
	require.NoError(t, impatient.cmd.Process.Signal(syscall.SIGTERM))
	soon(t, func() bool {
		_ = impatient.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-impatient.exited:
			return true
		default:
			return false
		}
	})
	require.Equal(t, -1, impatient.wait(), "ended by the signal")
}
