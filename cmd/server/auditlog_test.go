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
)

// auditLog returns all lines of an audit log, chain by chain.
func auditLog(t *testing.T, data string) (text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "audit", "*", "*.log"))
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		text += string(content)
	}
	return text
}

// firstFile returns the path of the first file of an audit log's first chain.
func firstFile(data string) string {
	return filepath.Join(data, "audit", "1", "00000000000000000001.log")
}

// removeAuditLog removes all files of an audit log.
func removeAuditLog(t *testing.T, data string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "audit*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		require.NoError(t, os.RemoveAll(file))
	}
}

// Servers do not start and commands do nothing until then. The new log records that it is a replacement.
func TestOnlyAuditBeginReplacesALostAuditLog(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	serving := []string{"serve", "--listen", "127.0.0.1:0", "--data", data}
	begin := []string{"audit", "begin", "--data", data}
	require.Contains(t, refused(t, environ, "", begin...), "a server begins one when it starts")
	p := serve(t, data, environ...)
	p.put(p.token, "patient-1", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	require.Contains(t, refused(t, environ, "", begin...), "there is an audit log")

	removeAuditLog(t, data)
	for _, args := range [][]string{serving, {"token", "create", "--data", data}, {"keys", "list", "--data", data}, {"kms", "check", "--data", data}} {
		require.Contains(t, refused(t, environ, "", args...), "`coffer audit begin` begins another log", args)
		require.NoFileExists(t, filepath.Join(data, "audit", "chains"), args)
	}
	for _, name := range []string{"lock", "reserve"} { // an audit log works without them
		require.NoError(t, os.MkdirAll(filepath.Join(data, "audit"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(data, "audit", name), []byte("content"), 0o600))
	}
	require.Contains(t, coffer(t, environ, begin...), "earlier events cannot be verified")
	var first struct {
		Seq                         int
		Action, Severity, Operation string
	}
	line, _, _ := strings.Cut(auditLog(t, data), "\n")
	require.NoError(t, json.Unmarshal([]byte(line), &first))
	require.Equal(t, []any{1, "audit.begun", "critical", "audit begin"}, []any{first.Seq, first.Action, first.Severity, first.Operation})
	require.Contains(t, coffer(t, environ, "audit", "verify", "--data", data), "nothing was altered")
	again := serve(t, data, environ...)
	again.requireValue(p.token, "patient-1", record)
	require.Zero(t, again.stop(syscall.SIGTERM))

	require.NoError(t, os.Remove(filepath.Join(data, "audit", "chains")))
	require.Contains(t, refused(t, environ, "", begin...), "move the directory audit away")
	require.Contains(t, fails(t, program(t, environ, serving...)), "the audit log's list of chains, or the head of a chain, is missing")
}

func TestAuditBeginCanBeRepeatedAfterAKill(t *testing.T) {
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	require.Zero(t, serve(t, data, environ...).stop(syscall.SIGTERM))
	removeAuditLog(t, data)
	begin := []string{"audit", "begin", "--data", data}
	coffer(t, environ, begin...)
	log, made := filepath.Join(data, "audit"), filepath.Join(data, "audit.new")
	require.NoError(t, os.Rename(log, made))
	require.NoError(t, os.Remove(filepath.Join(made, "2", "00000000000000000001.log")))
	require.Contains(t, fails(t, program(t, environ, "serve", "--listen", "127.0.0.1:0", "--data", data)), "`coffer audit begin`")
	coffer(t, environ, begin...)
	require.NoDirExists(t, made)
	require.Zero(t, serve(t, data, environ...).stop(syscall.SIGTERM))
	require.Equal(t, 1, strings.Count(auditLog(t, data), `"action":"audit.begun"`))
}

// Another command began that log in the meantime, and a server writes to it.
func TestAuditBeginLeavesAnotherNewLogAlone(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	p := serve(t, data, environ...)
	token := p.token
	require.Zero(t, p.stop(syscall.SIGTERM))
	removeAuditLog(t, data)
	dir := t.TempDir()
	asked, answer, script := filepath.Join(dir, "asked"), filepath.Join(dir, "answer"), filepath.Join(dir, "secret")
	require.NoError(t, syscall.Mkfifo(answer, 0o600))
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n: > "+asked+"\nread -r key < "+answer+"\necho \"$key\"\n"), 0o700))
	begin := []string{"audit", "begin", "--data", data}
	cmd := program(t, []string{"COFFER_MASTER_KEY_COMMAND=" + script, "PATH=" + os.Getenv("PATH")}, begin...)
	var held strings.Builder
	cmd.Stdout, cmd.Stderr = &held, &held
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { _, err := os.Stat(asked); return err == nil }, patience, 10*time.Millisecond)
	coffer(t, environ, begin...)
	p = serve(t, data, environ...)
	require.NoError(t, os.WriteFile(answer, []byte(masterA+"\n"), 0o600))
	require.Error(t, cmd.Wait())
	require.Contains(t, held.String(), "there is an audit log")
	p.put(token, "patient-1", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	require.Equal(t, 1, strings.Count(auditLog(t, data), `"action":"audit.begun"`))
	require.Contains(t, coffer(t, environ, "audit", "verify", "--data", data), "nothing was altered")
}

// The data directory is older than audit logs, or new while other hosts share the keysets.
func TestServerBeginsAnAuditLogBesideExistingKeysets(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	p := serve(t, data, environ...)
	p.put(p.token, "patient-1", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	removeAuditLog(t, data)
	require.NoError(t, os.Remove(filepath.Join(data, "log.made")))
	again := serve(t, data, environ...)
	again.requireValue(p.token, "patient-1", record)
	again.logs("there is no audit log: starting a new one")
	require.FileExists(t, filepath.Join(data, "log.made"))
	require.Zero(t, again.stop(syscall.SIGTERM))
}

// It logs once that the directory was renamed, and is ready when the directory is back.
func TestServerIsNotReadyWhileTheAuditLogIsMissing(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	p.put(p.token, "patient-1", record)
	p.answers(http.StatusOK, "", "GET", "/readyz", "")
	log := filepath.Join(data, "audit")
	require.NoError(t, os.Rename(log, log+".away"))
	require.Contains(t, p.answers(http.StatusServiceUnavailable, "", "GET", "/readyz", ""), "audit_unavailable")
	soon(t, func() bool { return strings.Contains(p.log.String(), "the audit log was altered") })
	p.put(p.token, "patient-1", record)
	require.Contains(t, p.answers(http.StatusServiceUnavailable, "", "GET", "/readyz", ""), "audit_unavailable")
	require.Equal(t, 1, strings.Count(p.log.String(), "the audit log was altered"), p.log)
	soon(t, func() bool {
		_ = os.Rename(log, log+".begun") // the server may begin it again in between
		return os.Rename(log+".away", log) == nil
	})
	p.answers(http.StatusOK, "", "GET", "/readyz", "")
}

// The log's key is lost with the keysets. A restore brings it back before it reads the log.
func TestNoOtherKeyIsCreatedForAnAuditLog(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	serving := []string{"serve", "--listen", "127.0.0.1:0", "--data", data}
	p := serve(t, data, environ...)
	p.put(p.token, "patient-1", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	backup := filepath.Join(t.TempDir(), "backup")
	coffer(t, environ, "keys", "backup", "--data", data, "--out", backup)
	lose := func() {
		files, err := filepath.Glob(filepath.Join(data, "keys*")) // with the marker that keysets existed
		require.NoError(t, err)
		for _, file := range append(files, filepath.Join(data, "cache")) {
			require.NoError(t, os.RemoveAll(file))
		}
		require.NoError(t, os.Mkdir(filepath.Join(data, "keys"), 0o700))
	}
	lose()
	for _, args := range [][]string{serving, {"token", "create", "--data", data}, {"audit", "verify", "--data", data}} {
		for range 2 {
			require.Contains(t, fails(t, program(t, environ, args...)), "the audit log's key is missing", args)
		}
	}
	restore := []string{"keys", "restore", "--data", data, "--in", backup}
	require.Contains(t, coffer(t, environ, append(restore, "--dry-run")...), "would change: 1 tenants")
	require.Contains(t, fails(t, program(t, environ, serving...)), "the audit log's key is missing", "a dry run restores nothing")
	require.Contains(t, coffer(t, environ, restore...), "changed: 1 tenants")
	require.Contains(t, coffer(t, environ, "audit", "verify", "--data", data), "nothing was altered")
	serve(t, data, environ...)

	other, fresh := t.TempDir(), t.TempDir() // with other keys in the environment
	require.Zero(t, serve(t, fresh, environ...).stop(syscall.SIGTERM))
	require.NoError(t, os.CopyFS(filepath.Join(other, "audit"), os.DirFS(filepath.Join(data, "audit"))))
	require.NoError(t, os.CopyFS(filepath.Join(other, "keys"), os.DirFS(filepath.Join(fresh, "keys"))))
	require.Contains(t, fails(t, program(t, environ, "serve", "--listen", "127.0.0.1:0", "--data", other)), "the audit log's key is missing")
}
