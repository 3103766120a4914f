// Package faults tests a server under load while a disk, Redis, the clock or the process fails, while single bits of its
// files are damaged, and while one tenant attacks. By default the tests run a part of the matrix. make faults runs the
// whole matrix and writes docs/faults.md.
package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/internal/redistest"
)

// patience is the maximum time of every wait.
const patience = 2 * time.Minute

// world contains a server, its stores, its data directory and its clients.
type world struct {
	t      *testing.T
	data   string
	env    []string
	redis  *redistest.Server // Redis of the cache, for faults of Redis
	keys   *redistest.Server // Redis of the keysets, if they are not embedded
	disk   *disk             // disk of the data directory, for faults of a disk
	clock  string            // file that shifts the server's clock, for faults of the clock
	binary string            // path of the server's binary, if it is not the default one

	server   *server
	logStart int // offset of the log lines that follow the fault
	token    string
	load     *load
	idle     []net.Conn // connections that use up the server's file descriptors
}

// server is a running `coffer serve`.
type server struct {
	cmd    *exec.Cmd
	url    string
	log    string // path of the file with its standard error
	exited chan struct{}
}

// settings contains short timeouts, so that each fault takes only seconds.
var settings = []string{
	"ENCRYPTION_MASTER_KEY=" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
	"COFFER_REQUEST_TIMEOUT=2s", "COFFER_RATE=0", "COFFER_CONCURRENT=0",
}

// start starts the server and waits until it listens.
func (w *world) start() {
	w.t.Helper()
	if w.binary == "" {
		w.binary = binary(w.t)
	}
	s, token, ok := tryServer(w.t, w.binary, w.data, w.env)
	if !ok {
		w.t.Fatalf("the server did not start:\n%s", s.readLog())
	}
	w.server = s
	if token != "" {
		w.token = token
	}
	if w.load != nil {
		w.load.moveTo(s.url)
	}
}

// tryServer starts a server. It reports whether the server listens; otherwise the server has ended.
func tryServer(t testing.TB, binary, data string, env []string) (s *server, token string, listens bool) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	require.NoError(t, err)
	defer log.Close()
	s = &server{log: log.Name(), exited: make(chan struct{})}
	s.cmd = proctest.Command(t, binary, "serve", "--listen", "127.0.0.1:0", "--data", data)
	s.cmd.Env = append(slices.Clone(settings), env...)
	s.cmd.Dir = t.TempDir()
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	lines := bufio.NewScanner(out)
	for s.url == "" && lines.Scan() {
		switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
		case "token":
			token = value
		case "listening":
			s.url = value
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	if s.url == "" {
		s.wait(t)
	}
	return s, token, s.url != ""
}

// binary builds the program once.
func binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	require.NoError(t, err)
	return path
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "coffer-faults-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("scripts/build.sh", filepath.Join(dir, "coffer"))
	cmd.Dir = "../.."
	proctest.Bind(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return filepath.Join(dir, "coffer"), nil
})

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func(testing.TB){"attacks": attack}, func() {
		if path, err := build(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
	})
}

func (s *server) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.exited
		t.Fatalf("the server did not end:\n%s", s.readLog())
		return -1
	}
}

func (s *server) alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

func (s *server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(signal))
}

func (s *server) readLog() string {
	content, _ := os.ReadFile(s.log)
	return string(content)
}

// warnings returns the distinct messages of the log's lines at WARN and ERROR, without lines about single requests.
func (s *server) warnings(from int) (messages []string, end int) {
	text := s.readLog()
	for line := range strings.Lines(text[min(from, len(text)):]) {
		var l struct{ Level, Msg, Code string }
		if json.Unmarshal([]byte(line), &l) != nil || l.Level != "WARN" && l.Level != "ERROR" || l.Msg == "request" {
			continue
		}
		message := varying.ReplaceAllString(l.Msg, "…")
		if l.Code != "" {
			message += " (" + l.Code + ")"
		}
		if !slices.Contains(messages, message) {
			messages = append(messages, message)
		}
	}
	return messages, len(text)
}

// varying matches the parts of a message that differ between lines.
var varying = regexp.MustCompile(`127\.0\.0\.1:\d+|\d+(\.\d+)?m?s\b`)

// health is the response of /readyz.
type health struct {
	Degraded []string `json:"degraded"`
	Code     string   `json:"code"`
}

func (h *health) codes() []string {
	if h.Code != "" {
		return append([]string{h.Code}, h.Degraded...)
	}
	return h.Degraded
}

func (s *server) ready() (h health, err error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(s.url + "/readyz")
	if err != nil {
		return h, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(body, &h)
	}
	if response.StatusCode == http.StatusOK {
		h.Code = ""
	}
	return h, err
}

// get returns the response to a request with the token.
func (w *world) get(path string) (int, string) {
	w.t.Helper()
	request, err := http.NewRequest(http.MethodGet, w.server.url+path, nil)
	require.NoError(w.t, err)
	request.Header.Set("Authorization", "Bearer "+w.token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(w.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(w.t, err)
	return response.StatusCode, string(body)
}

// soon waits until a condition is true.
func soon(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("it did not happen: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
