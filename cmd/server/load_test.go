package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slow is the number of clients for each of the four kinds of slow client.
const slow = 250

// A thousand clients send or read as slowly as the time limits allow. Memory stays bounded. COFFER_LOAD_UPLOADS is the number of
// uploads of 64 MiB that follow (`make soak`: 200).
func TestSlowClientsDoNotBlockOthers(t *testing.T) {
	p := serve(t, t.TempDir())
	address := strings.TrimPrefix(p.url, "http://")
	const size = 4 << 20
	p.put(p.token, "large", strings.Repeat("x", size))
	var slowly []net.Conn
	before := p.memory()
	auth := "Host: x\r\nAuthorization: Bearer " + p.token + "\r\n"
	for _, begin := range []string{
		"", "PUT /v1/cache/k?class=phi HTTP/1.1\r\n" + auth + "X: ", // headers without an end
		"PUT /v1/cache/slow?class=phi HTTP/1.1\r\n" + auth + "Content-Length: 67108864\r\n\r\n" + strings.Repeat("x", 100),
		"GET /v1/cache/large HTTP/1.1\r\n" + auth + "\r\n",
	} {
		for range slow {
			conn, err := net.Dial("tcp", address)
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			slowly = append(slowly, conn)
			_, err = io.WriteString(conn, begin)
			require.NoError(t, err)
		}
	}
	for i := range 100 {
		key := fmt.Sprint("k", i)
		p.put(p.token, key, record)
		p.requireValue(p.token, key, record)
	}
	during := p.memory()
	t.Logf("resident memory: %d MiB, with %d slow clients at most %d MiB", before>>20, 4*slow, during>>20)
	require.Less(t, during, before+1<<30, "a quarter of them asked for 1,000 MiB, and a quarter announced 16,000")
	for _, conn := range slowly {
		_ = conn.Close()
	}
	p.uploads(t)
}

// uploads sends 64 MiB from many clients concurrently. Each upload is stored or refused with 429. Small requests succeed in
// the meantime.
func (p *process) uploads(t *testing.T) {
	clients, body := 20, strings.Repeat("u", 64<<20)
	if n, err := strconv.Atoi(os.Getenv("COFFER_LOAD_UPLOADS")); err == nil {
		clients = n
	}
	statuses := make(chan int, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			request, _ := http.NewRequest("PUT", fmt.Sprintf("%s/v1/cache/upload%d?class=phi&ttl=1m", p.url, i%4), strings.NewReader(body))
			request.Header.Set("Authorization", "Bearer "+p.token)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				statuses <- 0 // the server refused the body and closed the connection while the client still sent it
				return
			}
			_ = response.Body.Close()
			statuses <- response.StatusCode
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for small := 0; ; small++ {
		select {
		case <-done:
			close(statuses)
			counts := map[int]int{}
			for status := range statuses {
				counts[status]++
			}
			t.Logf("%d uploads of 64 MiB at once: %v (0: refused while it was sent), %d small requests in the meantime, at most %d MiB resident", clients, counts, small, p.memory()>>20)
			require.Positive(t, counts[204])
			require.Equal(t, clients, counts[204]+counts[429]+counts[0], "%v", counts)
			require.Less(t, p.memory(), int64(3<<30))
			return
		default:
			p.put(p.token, "small", record)
			p.requireValue(p.token, "small", record)
			time.Sleep(5 * time.Millisecond)
		}
	}
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// memory returns the largest resident set of the process so far, in bytes.
func (p *process) memory() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	kilobytes, err := strconv.ParseInt(string(peak.FindSubmatch(status)[1]), 10, 64)
	require.NoError(p.t, err)
	return kilobytes << 10
}
