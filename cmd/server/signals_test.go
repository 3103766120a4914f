package main_test

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHangupDrainsTheServer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	u := beginUpload(t, p, record)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	soon(t, func() bool { return strings.Contains(p.log.String(), "shutting down") })
	_, err := io.WriteString(u.conn, u.rest)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(u.conn), nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusNoContent, response.StatusCode)
	require.True(t, response.Close, "the client is told that the connection ends")
	require.Zero(t, p.wait(), p.log)
}

// silent starts a server whose standard error is a pipe without a reader, and returns its standard output and the pipe.
func silent(t *testing.T, environ ...string) (p *process, out io.Closer, logged *os.File) {
	t.Helper()
	cmd := program(t, environ, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir())
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	logged, log, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = logged.Close() })
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	require.NoError(t, log.Close())
	exited := make(chan struct{})
	p = &process{t: t, cmd: cmd, exited: exited}
	lines := bufio.NewScanner(stdout)
	for p.url == "" && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "token":
			p.token = value
		case "listening":
			p.url = value
		}
	}
	go func() {
		state, _ := cmd.Process.Wait() // not cmd.Wait, which closes stdout
		cmd.ProcessState = state
		close(exited)
	}()
	t.Cleanup(p.kill)
	return p, stdout, logged
}

func TestServerOutlivesItsReaders(t *testing.T) {
	t.Parallel()
	p, out, logged := silent(t, "COFFER_AUDIT_COPY=stdout")
	require.NoError(t, logged.Close())
	require.NoError(t, out.Close())
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGPIPE))
	for range 20 {
		p.put(p.token, "k", record)
		p.requireValue(p.token, "k", record)
	}
	require.Zero(t, p.stop(syscall.SIGTERM))
}

// The log fills the pipe several times.
func TestServerOutlivesAnUnreadLog(t *testing.T) {
	t.Parallel()
	p, _, _ := silent(t)
	for range 2000 { // 400 KB of log; a pipe holds 64 KiB
		status, said := p.do(p.token, "GET", "/v1/cache/missing", "")
		require.Equal(t, http.StatusNotFound, status, said)
	}
	status, said := p.do(p.token, "GET", "/readyz", "")
	require.Equal(t, http.StatusOK, status, said)
	require.Zero(t, p.metric("coffer_log_dropped_total"), "they wait in memory")
	require.Zero(t, p.stop(syscall.SIGTERM))
}
