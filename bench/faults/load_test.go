package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	workers   = 8
	keysEach  = 40
	noAnswer  = "no answer" // used instead of a code
	answered  = "ok"
	pause     = time.Millisecond
	valueSize = 1 << 10
)

// load is a set of clients that write, read and delete. It records the acknowledged writes.
type load struct {
	url    atomic.Pointer[string]
	client client
	stop   context.CancelFunc
	ended  sync.WaitGroup

	mu      sync.Mutex
	entries map[string]*entry
	counts  map[string]int // responses by code
	acked   int            // writes since the last turn
	wrong   []string       // responses with a value that was not written
}

// entry records the possible values of a key.
type entry struct {
	acked string   // last acknowledged value; empty after an acknowledged deletion
	maybe []string // values of later writes that may have been applied
}

func (e *entry) allows(value string) bool { return value == e.acked || slices.Contains(e.maybe, value) }

func startLoad(url, token string) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{
		client: client{token: token}, stop: stop, entries: map[string]*entry{}, counts: map[string]int{},
	}
	l.moveTo(url)
	for i := range workers {
		l.ended.Go(func() { l.work(ctx, i) })
	}
	return l
}

func (l *load) moveTo(url string) { l.url.Store(&url) }

func (l *load) work(ctx context.Context, worker int) {
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("w%d-%d", worker, n/3%keysEach)
		switch n % 6 {
		case 0, 3:
			l.put(key, fmt.Sprintf("%s/%d", key, n))
		case 5:
			l.remove(key)
		default:
			l.read(key)
		}
		time.Sleep(pause)
	}
}

// value returns a value with a length that depends on the version.
func value(version string) string {
	if version == "" {
		return ""
	}
	return version + strings.Repeat(".", valueSize)
}

func (l *load) put(key, version string) {
	code, _ := l.send(http.MethodPut, "/v1/cache/"+key+"?class=phi", value(version))
	l.note(key, version, code)
}

func (l *load) remove(key string) {
	code, _ := l.send(http.MethodDelete, "/v1/cache/"+key, "")
	if code == "not_found" {
		code = answered
	}
	l.note(key, "", code)
}

// note updates the possible values of a key after a write.
func (l *load) note(key, version, code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	if e == nil {
		e = &entry{}
		l.entries[key] = e
	}
	switch code {
	case answered:
		e.acked, e.maybe = version, nil
		l.acked++
	case noAnswer, "timeout", "store_unavailable", "internal":
		e.maybe = append(e.maybe, version)
	}
}

func (l *load) read(key string) {
	code, body := l.send(http.MethodGet, "/v1/cache/"+key, "")
	if code != answered {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if version, _, _ := strings.Cut(body, "."); !strings.HasPrefix(version, key+"/") || body != value(version) {
		l.wrong = append(l.wrong, "another value under "+key)
	}
}

// send sends a request and counts the response by its code.
func (l *load) send(method, path, body string) (code, text string) {
	code, text = client{*l.url.Load(), l.client.token}.send(method, path, body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[code]++
	return code, text
}

// client sends requests to a server.
type client struct{ url, token string }

var connections = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workers}}

// send sends a request and returns the code and the body of the response.
func (c client) send(method, path, body string) (code, text string) {
	request, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		return noAnswer, ""
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := connections.Do(request)
	if err != nil {
		return noAnswer, ""
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return noAnswer, ""
	case response.StatusCode < 300:
		return answered, string(content)
	}
	var problem struct{ Code string }
	if json.NewDecoder(bytes.NewReader(content)).Decode(&problem) != nil || problem.Code == "" {
		return fmt.Sprint(response.StatusCode), ""
	}
	return problem.Code, ""
}

// code sends a request and returns the code of the response.
func (c client) code(method, path, body string) string {
	code, _ := c.send(method, path, body)
	return code
}

// turn returns the responses since the last turn.
func (l *load) turn() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := maps.Clone(l.counts)
	clear(l.counts)
	l.acked = 0
	return counts
}

// progress returns the number of responses and of acknowledged writes since the last turn.
func (l *load) progress() (answers, acked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for code, n := range l.counts {
		if code != noAnswer {
			answers += n
		}
	}
	return answers, l.acked
}

// end stops the clients and waits for their requests.
func (l *load) end() {
	l.stop()
	l.ended.Wait()
}

// lost reads every key and returns the keys of acknowledged writes that are missing.
func (l *load) lost() (keys, wrong []string) {
	for _, key := range slices.Sorted(maps.Keys(l.entries)) {
		e := l.entries[key]
		code, body := l.send(http.MethodGet, "/v1/cache/"+key, "")
		version, _, _ := strings.Cut(body, ".")
		switch {
		case code == "not_found":
			if !e.allows("") {
				keys = append(keys, key)
			}
		case code != answered:
			wrong = append(wrong, key+" is answered "+code)
		case !e.allows(version) || body != value(version):
			wrong = append(wrong, "an older or another value under "+key)
		}
	}
	return keys, append(l.wrong, wrong...)
}
