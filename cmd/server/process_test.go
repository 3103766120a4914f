package main_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
)

// binary builds the program once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "coffer-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "coffer")
	build := exec.Command("scripts/build.sh", path) // as make builds it, so that both share compiled packages
	build.Dir = "../.."
	proctest.Bind(build)
	out, err := build.CombinedOutput()
	if err != nil {
		return "", &buildError{string(out)}
	}
	return path, nil
})

type buildError struct{ output string }

func (e *buildError) Error() string { return "scripts/build.sh: " + e.output }

// roles are what this test binary does in other processes.
var roles = map[string]func(testing.TB){}

func TestMain(m *testing.M) {
	proctest.Main(m, roles, func() {
		if path, err := binary(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
	})
}

// patience is how long a test waits for an event that always comes. It is long enough for a busy machine.
const patience = 5 * time.Minute

// program returns the command coffer with the given arguments and no other environment. It ends with the test.
func program(t testing.TB, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	cmd := proctest.Command(t, path, args...)
	cmd.Env = append([]string{}, environ...) // not nil, which would be this process's environment
	cmd.Dir = t.TempDir()
	return cmd
}

// process is a running `coffer serve`.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	url    string
	token  string   // printed by a first start
	said   []string // other lines before the address
	log    logFile
	exited chan struct{}
}

// logFile is a process's standard error, to be read at any time.
type logFile string

func (f logFile) String() string {
	content, err := os.ReadFile(string(f))
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// soon waits until a condition is true.
func soon(t testing.TB, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "it did not happen")
	}
}

// logs waits until the log has a text: a server writes its lines a little after it answered.
func (p *process) logs(text string) {
	p.t.Helper()
	soon(p.t, func() bool { return strings.Contains(p.log.String(), text) })
}

// serve starts a server on a free port and waits for its address.
func serve(t testing.TB, data string, environ ...string) *process {
	t.Helper()
	return start(t, program(t, environ, "serve", "--listen", "127.0.0.1:0", "--data", data))
}

// start starts the command of a server and waits for its address.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, t: t, log: logFile(filepath.Join(t.TempDir(), "log")), exited: make(chan struct{})}
	log, err := os.Create(string(p.log))
	require.NoError(t, err)
	defer log.Close()
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { p.kill() })
	lines := bufio.NewScanner(out)
	for p.url == "" && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "token":
			p.token = value
		case "listening":
			p.url = value
		default:
			p.said = append(p.said, lines.Text())
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	if p.url == "" {
		<-p.exited
		t.Fatalf("the server did not start:\n%s", p.log)
	}
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop asks the server to end, waits until it did, and returns its exit code.
func (p *process) stop(signal os.Signal) int {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(signal))
	return p.wait()
}

func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.kill()
		p.t.Fatalf("the server did not end:\n%s", p.log)
		return -1
	}
}

// do sends a request and returns the status and the body.
func (p *process) do(token, method, path, body string) (int, string) {
	p.t.Helper()
	request, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	require.NoError(p.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	if strings.HasPrefix(body, "{") {
		request.Header.Set("Content-Type", "application/json")
	}
	status, read, _ := p.answer(request)
	return status, read
}

// answers repeats a request until it returns the status, because a process on a busy machine reaches a state late.
func (p *process) answers(status int, token, method, path, body string) (said string) {
	p.t.Helper()
	soon(p.t, func() bool {
		var got int
		got, said = p.do(token, method, path, body)
		return got == status
	})
	return said
}

// accepted is like do, but first waits until the server accepts the token.
func (p *process) accepted(token, method, path, body string) (status int, said string) {
	p.t.Helper()
	soon(p.t, func() bool {
		status, said = p.do(token, method, path, body)
		return status != http.StatusUnauthorized
	})
	return status, said
}

// answer sends a request and reads the whole response.
func (p *process) answer(request *http.Request) (int, string, http.Header) {
	p.t.Helper()
	response, err := http.DefaultClient.Do(request)
	require.NoError(p.t, err)
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return response.StatusCode, string(read), response.Header
}

func (p *process) put(token, key, value string) {
	p.t.Helper()
	status, body := p.accepted(token, "PUT", "/v1/cache/"+key+"?class=phi", value)
	require.Equal(p.t, http.StatusNoContent, status, body)
}

func (p *process) requireValue(token, key, value string) {
	p.t.Helper()
	status, body := p.accepted(token, "GET", "/v1/cache/"+key, "")
	require.Equal(p.t, http.StatusOK, status, body)
	require.Equal(p.t, value, body)
}

// metric returns the value of a metric, by its name with labels.
func (p *process) metric(name string) float64 {
	p.t.Helper()
	_, text := p.do(p.token, "GET", "/metrics", "")
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name+" "); found {
			n, err := strconv.ParseFloat(value, 64)
			require.NoError(p.t, err)
			return n
		}
	}
	p.t.Fatalf("there is no metric %s in\n%s", name, text)
	return 0
}

// exitCodes are those of commands that do not succeed.
var exitCodes = []int{1, 2, 3, 4, 5}

// fails runs a program that must fail without standard output, and returns its standard error.
func fails(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	require.NoError(t, cmd.Start())
	done := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
	err := cmd.Wait()
	require.True(t, done.Stop(), "it ran on:\n%s", &stderr)
	require.Error(t, err)
	require.Contains(t, exitCodes, cmd.ProcessState.ExitCode(), stderr.String())
	require.Empty(t, out.String())
	return stderr.String()
}
