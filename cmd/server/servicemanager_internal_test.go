package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// listenUnixgram opens the socket of a service manager.
func listenUnixgram(t *testing.T) (m serviceManager, heard func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	return serviceManager{socket: path, watchdog: 2 * time.Millisecond}, func() string {
		buffer := make([]byte, 256)
		n, err := socket.Read(buffer)
		require.NoError(t, err)
		return string(buffer[:n])
	}
}

func TestWatchdogIsFedWhileTheServerAnswersItself(t *testing.T) {
	m, heard := listenUnixgram(t)
	entered, release := make(chan struct{}), make(chan struct{})
	calls, said := 0, []int{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch calls++; calls {
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			close(entered)
			<-release
		}
		_, _ = w.Write([]byte("{}"))
	})
	works := livenessCheck(handler)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.watch(ctx, func() bool {
			does := works()
			if does {
				said = append(said, calls)
			}
			return does
		}, slog.New(slog.DiscardHandler))
	}()
	require.Equal(t, "WATCHDOG=1", heard())
	<-entered
	close(release)
	require.Equal(t, "WATCHDOG=1", heard())
	stop()
	<-ended
	require.Equal(t, []int{1, 3}, said[:2], "nothing was said of the second, which failed")
}

// The same is true for a process that the manager does not watch.
func TestServiceManagerIsNotNotifiedWithoutOne(t *testing.T) {
	of := func(pairs map[string]string) serviceManager {
		return serviceManagerFromEnvironment(func(name string) string { return pairs[name] })
	}
	require.Equal(t, serviceManager{}, of(nil))
	require.Equal(t, serviceManager{socket: "/s", watchdog: time.Second}, of(map[string]string{"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1000000"}))
	require.Equal(t, serviceManager{socket: "@s"}, of(map[string]string{"NOTIFY_SOCKET": "@s", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}))
	require.Equal(t, serviceManager{socket: "@s"}, of(map[string]string{"NOTIFY_SOCKET": "@s", "WATCHDOG_USEC": "-5"}))
}
