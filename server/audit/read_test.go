package audit_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
)

// tailIDs returns the request ids of the lines that Tail emits.
func tailIDs(t *testing.T, path string, n int, filter audit.Filter) (ids []string) {
	t.Helper()
	require.NoError(t, audit.Tail(t.Context(), path, n, &filter, false, func(l *audit.Line) error {
		require.True(t, strings.HasPrefix(string(l.Text), fmt.Sprintf(`{"v":1,"chain":%d,"seq":%d,`, l.Chain, l.Seq)))
		ids = append(ids, l.RequestID)
		return nil
	}))
	return ids
}

// readPage reads a page without an error.
func readPage(t *testing.T, dir string, q audit.Query) (entries []audit.Entry, next audit.Heads) {
	t.Helper()
	p, err := audit.NewReader(dir, nil).Page(t.Context(), q)
	require.NoError(t, err)
	return p.Entries, p.Next
}

func TestTailFiltersAcrossFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	require.Empty(t, tailIDs(t, path, 10, audit.Filter{}))
	f := open(t, path, audit.Options{MaxSize: 2000, Sync: audit.SyncLater})
	var all []string
	for i := range 30 {
		e := useEvent(i)
		switch {
		case i%3 == 0:
			e.Tenant = "other"
		case i == 10:
			e.Code = "authentication_failed"
		case i == 20:
			e.Code = "unknown_key"
		case i == 25:
			e.Class = classify.PII
		}
		require.NoError(t, f.Record(t.Context(), e))
		all = append(all, strconv.Itoa(i))
	}
	names := readContent(t, path).names
	appendTo(t, names[len(names)-1], `{"v":1,"chain":1,"seq":99,"requestId":"torn"`)
	require.Equal(t, all, tailIDs(t, path, 100, audit.Filter{}), "over several files")
	require.Equal(t, all[25:], tailIDs(t, path, 5, audit.Filter{}))
	require.Empty(t, tailIDs(t, path, 0, audit.Filter{}))
	require.Equal(t, []string{"24", "27"}, tailIDs(t, path, 2, audit.Filter{Tenant: "other"}))
	require.Equal(t, []string{"10", "20"}, tailIDs(t, path, 9, audit.Filter{Severity: audit.Warning}))
	require.Equal(t, []string{"10"}, tailIDs(t, path, 9, audit.Filter{Severity: audit.Critical}))
	require.Equal(t, []string{"25"}, tailIDs(t, path, 9, audit.Filter{Class: "pii"}))
	require.Empty(t, tailIDs(t, path, 9, audit.Filter{Action: "key.seal"}))
	require.Empty(t, tailIDs(t, path, 9, audit.Filter{Action: "key"}))
	require.Equal(t, []string{"28", "29"}, tailIDs(t, path, 2, audit.Filter{Action: "key."}))
	require.Empty(t, tailIDs(t, path, 9, audit.Filter{Since: time.Now().Add(time.Minute)}))
	require.Len(t, tailIDs(t, path, 99, audit.Filter{Since: time.Now().Add(-time.Minute)}), 30)
}

func TestPageAndTailFilterAlike(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{Sync: audit.SyncLater})
	actions := []audit.Action{audit.KeyOpen, audit.KeySeal, audit.ServerStart, audit.AccessRefused}
	codes := []string{"", "unknown_key", "authentication_failed"}
	for i := range 60 {
		e := useEvent(i)
		e.Action, e.Code, e.Class = actions[i%4], codes[i%3], classify.All[i%5]
		e.Tenant = []string{"", "other"}[i%2]
		require.NoError(t, f.Record(t.Context(), e))
	}
	now := time.Now()
	for _, filter := range []audit.Filter{
		{}, {Tenant: "other"}, {Action: "key.open"}, {Action: "key."}, {Action: "key"}, {Class: "phi"}, {Severity: audit.Info}, {Severity: audit.Notice},
		{Severity: audit.Warning}, {Severity: audit.Critical}, {Since: now.Add(-time.Minute)}, {Since: now.Add(time.Minute)},
		{Tenant: "other", Action: "key.", Severity: audit.Warning, Class: "pii"},
	} {
		want := tailIDs(t, path, 100, filter)
		slices.Reverse(want)
		entries, _ := readPage(t, path, audit.Query{Filter: filter, Limit: 100})
		var got []string
		for _, entry := range entries {
			l, ok := audit.ParseLine(entry)
			require.True(t, ok)
			got = append(got, l.RequestID)
		}
		require.Equal(t, want, got, filter)
	}
}

// New lines are emitted once and in order, across the ends of files, and nothing else is emitted.
func TestFollowEmitsNewLinesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{MaxSize: 20_000, Sync: audit.SyncLater, Log: discardLog})
	require.NoError(t, f.Record(t.Context(), useEvent(0)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, ended := make(chan uint64, 1000), make(chan error, 1)
	go func() {
		ended <- audit.Tail(ctx, path, 1, &audit.Filter{}, true, func(l *audit.Line) error {
			if l.Chain == 1 { // not the line that records the alteration
				seen <- l.Seq
			}
			return nil
		})
	}()
	require.EqualValues(t, 1, receive(t, seen))
	want := uint64(1)
	for i := range 200 {
		if i == 100 {
			names := readContent(t, path).names
			audit.WaitForNextCheck()
			appendTo(t, names[len(names)-1], fmt.Sprintf("{\"v\":1,\"chain\":1,\"seq\":%d,\"requestId\":\"forged\",\"mac\":\"%064x\"}\ntorn", uint64(math.MaxUint64), 1)) // a line without a time
		}
		require.NoError(t, f.Record(t.Context(), useEvent(i)))
		for i%70 == 69 && want < uint64(i) { // read in several steps
			want++
			require.Equal(t, want, receive(t, seen))
		}
	}
	for want < 201 {
		want++
		require.Equal(t, want, receive(t, seen))
	}
	cancel()
	require.NoError(t, receive(t, ended))
	require.GreaterOrEqual(t, len(readContent(t, path).names), 3)
}

// receive returns the next value of a channel, and fails the test after a minute without one.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(time.Minute):
		require.Fail(t, "nothing was received in time")
		return *new(T)
	}
}

// A clock that was set back for a while hides no line from a page, and does not make a page read the whole log.
func TestPageSinceToleratesClockSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	since := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	var log strings.Builder
	seq := 0
	write := func(n int, at time.Time) {
		for range n {
			seq++
			fmt.Fprintf(&log, "{\"v\":1,\"chain\":1,\"seq\":%d,\"time\":%q,\"action\":\"key.open\",\"mac\":\"%064x\"}\n", seq, at.Format("2006-01-02T15:04:05.000Z07:00"), 1)
		}
	}
	write(1, since)
	write(15_000, since.Add(-time.Hour))
	write(3, since)
	for range 2 {
		write(9_000, since.AddDate(-1, 0, 0))
		write(2, since.Add(time.Minute))
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(firstFile(path)), 0o700))
	require.NoError(t, os.WriteFile(firstFile(path), []byte(log.String()), 0o600))
	entries, next := readPage(t, path, audit.Query{Filter: audit.Filter{Since: since}, Limit: 100})
	require.Len(t, entries, 7)
	require.Empty(t, next)
	entries, _ = readPage(t, path, audit.Query{Limit: 100})
	require.Len(t, entries, 100)
}

// Lines of several chains are shown in the order of time. Paging returns each line once, while other lines are written
// and chains are added.
func TestPagesMergeChainsByTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	var want []string
	var all []*audit.File
	for i := range 60 {
		if i%20 == 0 {
			all = append(all, open(t, path, audit.Options{MaxSize: 2000, Sync: audit.SyncLater}))
		}
		require.NoError(t, all[i%len(all)].Record(t.Context(), useEvent(i)))
		for at := time.Now().UnixMilli(); time.Now().UnixMilli() == at; { // so that times differ
		}
		want = append(want, strconv.Itoa(i))
	}
	require.Equal(t, want, tailIDs(t, path, 100, audit.Filter{}))
	require.Equal(t, want[50:], tailIDs(t, path, 10, audit.Filter{}))

	slices.Reverse(want)
	var got []string
	for q := (audit.Query{Limit: 7}); ; {
		entries, next := readPage(t, path, q)
		for _, entry := range entries {
			l, ok := audit.ParseLine(entry)
			require.True(t, ok)
			got = append(got, l.RequestID)
		}
		require.LessOrEqual(t, len(entries), 7)
		if next == nil {
			break
		}
		var err error
		q.From, err = audit.ParseHeads(next.String())
		require.NoError(t, err)
		f := open(t, path, audit.Options{})
		require.NoError(t, f.Record(t.Context(), useEvent(1000)))
		require.NoError(t, all[0].Record(t.Context(), useEvent(1000)))
	}
	require.Equal(t, want, got)
}
