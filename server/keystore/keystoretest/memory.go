package keystoretest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/coffer-storage/coffer/server/keystore"
)

// Memory is a store in memory, for tests. It is safe for concurrent use.
type Memory struct {
	mu        sync.Mutex
	documents map[keystore.Change]stored
	feed      []keystore.Change
	reads     int
}

type stored struct {
	content []byte
	due     int64
}

var _ keystore.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{documents: map[keystore.Change]stored{}} }

// Reads returns the number of calls of Get.
func (m *Memory) Reads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// LoseDocuments removes documents without an entry in the feed, as a failover to an old replica does.
func (m *Memory) LoseDocuments(kind keystore.Kind, names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		delete(m.documents, keystore.Change{Kind: kind, Name: name})
	}
}

// LoseFeed starts a new feed: every reader gets keystore.ErrFeedLost.
func (m *Memory) LoseFeed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.feed = nil
}

// Snapshot returns a function that restores the present state of the store, as a failover does to a replica that
// lacks the last writes. Positions in the feed from before the snapshot remain valid.
func (m *Memory) Snapshot() (restore func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	documents, length := maps.Clone(m.documents), len(m.feed)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.documents, m.feed = maps.Clone(documents), m.feed[:length:length]
	}
}

// Get implements keystore.Store.
func (m *Memory) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return bytes.Clone(m.documents[keystore.Change{Kind: kind, Name: name}].content), ctx.Err()
}

// Swap implements keystore.Store.
func (m *Memory) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	if len(document) > keystore.MaxDocument || document != nil && len(document) == 0 || len(name) > keystore.MaxName {
		return false, keystore.ErrUnavailable
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	key := keystore.Change{Kind: kind, Name: name}
	now := m.documents[key].content
	same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
	if !same(now, old) || now == nil && document == nil {
		return same(now, document), nil
	}
	if document == nil {
		delete(m.documents, key)
	} else {
		m.documents[key] = stored{bytes.Clone(document), due}
	}
	m.feed = append(m.feed, key)
	return true, nil
}

// Page implements keystore.Store.
func (m *Memory) Page(_ context.Context, kind keystore.Kind, after string, limit int) (documents []keystore.Document, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, one := range m.documents {
		if key.Kind == kind && (after == "" || key.Name > after[1:]) {
			documents = append(documents, keystore.Document{Name: key.Name, Content: bytes.Clone(one.content)})
		}
	}
	slices.SortFunc(documents, func(a, b keystore.Document) int { return strings.Compare(a.Name, b.Name) })
	if len(documents) > limit {
		documents = documents[:limit]
		next = "." + documents[limit-1].Name
	}
	return documents, next, nil
}

// Changes implements keystore.Store.
func (m *Memory) Changes(_ context.Context, since keystore.Position) ([]keystore.Change, keystore.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := keystore.Position(strconv.Itoa(len(m.feed)))
	if since == "" {
		return nil, next, nil
	}
	n, err := strconv.Atoi(string(since))
	if err != nil || n > len(m.feed) {
		return nil, "", keystore.ErrFeedLost
	}
	return slices.Clone(m.feed[n:]), next, nil
}

// Due implements keystore.Store.
func (m *Memory) Due(_ context.Context, kind keystore.Kind, until int64, limit int) (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := map[string]int64{}
	for key, one := range m.documents {
		if key.Kind == kind && one.due != 0 && one.due <= until {
			names = append(names, key.Name)
			at[key.Name] = one.due
		}
	}
	slices.SortFunc(names, func(a, b string) int { return int(at[a] - at[b]) })
	return names[:min(limit, len(names))], nil
}

// Location implements keystore.Store.
func (m *Memory) Location(kind keystore.Kind, name string) string {
	return "memory:" + string(kind) + "/" + name
}
