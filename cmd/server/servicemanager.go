package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// serviceManager is the service manager that started this process, such as systemd with Type=notify (sd_notify(3)). The zero serviceManager
// does nothing.
type serviceManager struct {
	socket   string
	watchdog time.Duration // the period of its watchdog; 0 if there is no watchdog
}

// serviceManagerFromEnvironment returns the service manager that the environment names.
func serviceManagerFromEnvironment(getenv func(string) string) serviceManager {
	m := serviceManager{socket: getenv("NOTIFY_SOCKET")}
	if pid := getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		micros, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
		if err == nil && micros > 0 {
			m.watchdog = time.Duration(micros) * time.Microsecond
		}
	}
	return m
}

// notify sends a state, such as READY=1.
func (m serviceManager) notify(state string, log *slog.Logger) {
	if m.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"}) // a leading @ is an abstract name
	if err == nil {
		_, err = conn.Write([]byte(state))
		_ = conn.Close() // a datagram needs no more
	}
	if err != nil {
		log.Warn("the service manager cannot be notified", "state", state, "error", errorText(err))
	}
}

// watch sends WATCHDOG=1 twice in each period of the watchdog while works returns true. If works hangs, watch sends nothing, and the service
// manager restarts the process.
func (m serviceManager) watch(ctx context.Context, works func() bool, log *slog.Logger) {
	if m.socket == "" || m.watchdog == 0 {
		return
	}
	tick := time.NewTicker(m.watchdog / 2)
	defer tick.Stop()
	for {
		if works() {
			m.notify("WATCHDOG=1", log)
		} else {
			log.Error("the server does not answer its own request: no sign of life is sent to the service manager")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// livenessCheck returns a function that reports whether the handler answers /livez. It needs no connection, because clients may use all of
// them.
func livenessCheck(handler http.Handler) func() bool {
	return func() bool {
		request, err := http.NewRequest(http.MethodGet, "/livez", nil)
		if err != nil {
			return false
		}
		request.RemoteAddr = "127.0.0.1:0"
		response := &statusRecorder{header: http.Header{}}
		handler.ServeHTTP(response, request)
		return response.status == http.StatusOK
	}
}

// statusRecorder is a response writer that keeps the status only.
type statusRecorder struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (s *statusRecorder) Header() http.Header { return s.header }

// WriteHeader implements http.ResponseWriter.
func (s *statusRecorder) WriteHeader(status int) { s.status = status }

// Write implements http.ResponseWriter.
func (s *statusRecorder) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return len(p), nil
}
