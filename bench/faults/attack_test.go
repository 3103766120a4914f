package faults

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/coffer-storage/coffer/internal/proctest"
)

const (
	attackers  = 32                     // connections of an attack
	slowBodies = 200                    // connections of the attack that sends slowly
	listed     = 5000                   // entries of the attacker's tenant
	turns      = 5                      // turns with each attack, and as many without
	turnLength = 2 * time.Second        // length of a turn
	workPause  = 10 * time.Millisecond  // between two requests of a working client
	workCount  = 4                      // working clients
	slowDown   = 200 * time.Millisecond // between two bytes of a slow body
)

// attacks maps the name of an attack to the function that a connection of the attacker runs until the process is killed.
var attacks = map[string]func(address, token string, n int) error{
	"wrong-tokens": func(address, _ string, _ int) error {
		return flood(address, "GET /v1/cache/k HTTP/1.1\r\nAuthorization: Bearer coffer_"+strings.Repeat("A", 43)+"\r\n", "")
	},
	"flood": func(address, token string, n int) error {
		return flood(address, fmt.Sprintf("PUT /v1/cache/f%d?class=phi HTTP/1.1\r\nAuthorization: Bearer %s\r\n", n, token), strings.Repeat("f", 1024))
	},
	"refusals": func(address, token string, _ int) error {
		return flood(address, "GET /v1/keys HTTP/1.1\r\nAuthorization: Bearer "+token+"\r\n", "")
	},
	"huge-lists": func(address, token string, _ int) error {
		return flood(address, "GET /v1/cache?limit=1000 HTTP/1.1\r\nAuthorization: Bearer "+token+"\r\n", "")
	},
	"quota": func(address, token string, n int) error {
		return flood(address, fmt.Sprintf("PUT /v1/cache/q%d?class=phi HTTP/1.1\r\nAuthorization: Bearer %s\r\n", n, token), strings.Repeat("q", 1<<20))
	},
	"slow-bodies": slowBody,
}

// attack is the role of the attacking process. It has the lowest priority, because it runs on the machine of the server.
func attack(t testing.TB) {
	giveWay(t)
	kind, address, token := os.Args[1], os.Args[2], os.Args[3]
	count := attackers
	if kind == "slow-bodies" {
		count = slowBodies
	}
	for n := range count {
		go func() {
			for {
				if attacks[kind](address, token, n) != nil {
					time.Sleep(10 * time.Millisecond) // the server closed the connection
				}
			}
		}()
	}
	fmt.Println("attacking")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test closes it
}

// giveWay gives each thread of the process the lowest priority, so that it runs only on an idle processor. New threads
// inherit the priority.
func giveWay(t testing.TB) {
	threads, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		require.NoError(t, err)
		require.NoError(t, unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0))
	}
}

// flood repeats a request as soon as the response arrives, until the connection ends.
func flood(address, head, body string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	request := head + "Host: x\r\n"
	if body != "" {
		request += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	for {
		if _, err := io.WriteString(conn, request+"\r\n"+body); err != nil {
			return err
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return err
		}
	}
}

func slowBody(address, token string, n int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "PUT /v1/cache/s%d?class=phi HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 67108864\r\n\r\n", n, token); err != nil {
		return err
	}
	for {
		if _, err := io.WriteString(conn, "s"); err != nil {
			return err
		}
		time.Sleep(slowDown)
	}
}

// BenchmarkAttack compares the 99th percentile of one tenant's requests with and without an attack by another tenant. The
// server must not refuse requests of the working tenant. Each tenant has a rate limit and a quota.
func BenchmarkAttack(b *testing.B) {
	for _, kind := range slices.Sorted(maps.Keys(attacks)) {
		b.Run(kind, func(b *testing.B) {
			var quiet, attacked []float64
			s := newTarget(b)
			for range turns {
				quiet = append(quiet, percentile(s.work(b, turnLength)))
				end := s.attack(b, kind)
				attacked = append(attacked, percentile(s.work(b, turnLength)))
				end()
			}
			slices.Sort(quiet)
			slices.Sort(attacked)
			b.ReportMetric(quiet[turns/2]/attacked[turns/2], "ratio")
			b.ReportMetric(attacked[turns/2]/1e6, "attacked-ms")
			b.ReportMetric(quiet[turns/2]/1e6, "quiet-ms")
		})
	}
}

// TestAttack checks without measuring that no request of the working tenant is refused during an attack.
func TestAttack(t *testing.T) {
	s := newTarget(t)
	for _, kind := range slices.Sorted(maps.Keys(attacks)) {
		end := s.attack(t, kind)
		s.work(t, time.Second/2)
		end()
	}
}

// target is a server with two tenants.
type target struct {
	server           *server
	worker, attacker string // tokens
}

func newTarget(t testing.TB) *target {
	data := filepath.Join(t.TempDir(), "data")
	s, token, ok := tryServer(t, binary(t), data, []string{"COFFER_RATE=500", "COFFER_TENANT_STORAGE=16777216"})
	require.True(t, ok, s.readLog())
	cmd := proctest.Command(t, binary(t), "token", "create", "--data", data, "--tenant", "attacker")
	cmd.Env = settings
	out, err := cmd.Output()
	require.NoError(t, err)
	tg := &target{s, token, strings.TrimSpace(strings.TrimPrefix(string(out), "token: "))}
	soon(t, "the token is known", func() bool { return client{s.url, tg.attacker}.code(http.MethodGet, "/v1/cache/k", "") == "not_found" })
	for n := 0; n < listed; {
		switch code := (client{s.url, tg.attacker}).code(http.MethodPut, fmt.Sprintf("/v1/cache/l%d?class=phi", n), "x"); code {
		case answered:
			n++
		case "rate_limited":
			time.Sleep(10 * time.Millisecond)
		default:
			t.Fatal(code)
		}
	}
	return tg
}

func (s *target) address() string { return strings.TrimPrefix(s.server.url, "http://") }

func (s *target) attack(t testing.TB, kind string) (end func()) {
	cmd := proctest.RoleCommand(t, "attacks", kind, s.address(), s.attacker)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	time.Sleep(200 * time.Millisecond) // until the attack has started
	return func() {
		_ = in.Close()
		require.NoError(t, cmd.Wait())
	}
}

// work makes clients of the working tenant write and read for a period at a steady rate. It returns the duration of each
// request.
func (s *target) work(t testing.TB, length time.Duration) []float64 {
	results := make(chan []float64, workCount)
	failed := make(chan string, workCount)
	for i := range workCount {
		go func() {
			var took []float64
			c := client{s.server.url, s.worker}
			for n, end := 0, time.Now().Add(length); time.Now().Before(end); n++ {
				method, path, body := http.MethodPut, fmt.Sprintf("/v1/cache/w%d?class=phi", i), value(fmt.Sprint(n))
				if n%2 == 1 {
					method, path, body = http.MethodGet, fmt.Sprintf("/v1/cache/w%d", i), ""
				}
				begin := time.Now()
				if code := c.code(method, path, body); code != answered {
					failed <- code
				}
				took = append(took, float64(time.Since(begin)))
				time.Sleep(workPause)
			}
			results <- took
		}()
	}
	var all []float64
	for range workCount {
		select {
		case took := <-results:
			all = append(all, took...)
		case code := <-failed:
			t.Fatalf("a request of the other tenant was answered %s", code)
		}
	}
	return all
}

// percentile returns the 99th percentile of the durations.
func percentile(took []float64) float64 {
	slices.Sort(took)
	return took[len(took)*99/100]
}
