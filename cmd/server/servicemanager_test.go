package main_test

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// READY=1 when the server answers, WATCHDOG=1 until it has ended, and STOPPING=1 after the signal.
func TestServiceManagerReceivesEveryState(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer socket.Close()
	heard := make(chan string, 1000)
	go func() {
		defer close(heard)
		buffer := make([]byte, 256)
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				return
			}
			heard <- string(buffer[:n])
		}
	}()
	p := serve(t, t.TempDir(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=20000", "COFFER_SHUTDOWN_DELAY=5m")
	require.Equal(t, "READY=1", <-heard)
	for range 3 {
		require.Equal(t, "WATCHDOG=1", <-heard)
	}
	require.Zero(t, p.metric("coffer_draining"))
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	for said := range heard {
		if said != "WATCHDOG=1" {
			require.Equal(t, "STOPPING=1", said)
			break
		}
	}
	soon(t, func() bool { return p.metric("coffer_draining") == 1 })
	require.Equal(t, "WATCHDOG=1", <-heard, "it works until it has ended")
	require.Equal(t, http.StatusOK, first(p.do("", "GET", "/livez", "")))
	require.NotContains(t, p.log.String(), "cannot be notified")
	require.False(t, strings.Contains(p.log.String(), "/livez"))
}
