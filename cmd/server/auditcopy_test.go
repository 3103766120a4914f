package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/mirror"
	"github.com/coffer-storage/coffer/internal/redistest"
)

func TestAuditCopyToRedisHasEveryLine(t *testing.T) {
	t.Parallel()
	redis, data := redistest.Start(t), t.TempDir()
	p := serve(t, data, "REDIS_URL=redis://"+redis.Addr, "COFFER_AUDIT_COPY=redis")
	p.put(p.token, "k", record)
	p.requireValue(p.token, "k", record)
	require.Zero(t, p.stop(syscall.SIGTERM))
	var copied strings.Builder
	for _, one := range redis.Client(t).XRange(t.Context(), mirror.StreamKey, "-", "+").Val() {
		copied.WriteString(one.Values["line"].(string) + "\n")
	}
	require.Greater(t, strings.Count(copied.String(), "\n"), 3)
	require.Equal(t, auditLog(t, data), copied.String())
}

// The lines are between the other output of the server.
func TestAuditCopyToStdoutHasEveryLine(t *testing.T) {
	t.Parallel()
	data, out := t.TempDir(), logFile(filepath.Join(t.TempDir(), "out"))
	file, err := os.Create(string(out))
	require.NoError(t, err)
	defer file.Close()
	cmd := program(t, []string{"COFFER_AUDIT_COPY=stdout"}, "serve", "--listen", "127.0.0.1:0", "--data", data)
	cmd.Stdout = file
	require.NoError(t, cmd.Start())
	soon(t, func() bool { return strings.Contains(out.String(), "listening: ") })
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	var copied strings.Builder
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "{") {
			copied.WriteString(line)
		}
	}
	require.Equal(t, 3, strings.Count(copied.String(), "\n"), "the start, the token and the stop")
	require.Equal(t, auditLog(t, data), copied.String())
}

// Lines that are not copied are counted.
func TestServerStartsWithoutTheRedisOfTheAuditCopy(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "REDIS_URL=redis://127.0.0.1:1", "COFFER_AUDIT_COPY=redis")
	soon(t, func() bool { return strings.Contains(p.log.String(), "the audit log cannot be copied") })
}
