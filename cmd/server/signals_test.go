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

// A hangup drains the server like SIGTERM: an upload in flight is answered.
func TestHangup(t *testing.T) {
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

// A server goes on if nothing reads what it prints and logs any more, and ends in order.
func TestServerOutlivesItsReaders(t *testing.T) {
	t.Parallel()
	cmd := program(t, []string{"COFFER_AUDIT_COPY=stdout"}, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	logged, log, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	require.NoError(t, log.Close())
	exited := make(chan struct{})
	p := &process{t: t, cmd: cmd, exited: exited}
	lines := bufio.NewScanner(out)
	for p.url == "" && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "token":
			p.token = value
		case "listening":
			p.url = value
		}
	}
	require.NoError(t, logged.Close())
	require.NoError(t, out.Close())
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(p.kill)
	require.NoError(t, cmd.Process.Signal(syscall.SIGPIPE))
	for range 20 {
		p.put(p.token, "k", record)
		p.requireValue(p.token, "k", record)
	}
	require.Zero(t, p.stop(syscall.SIGTERM))
}
