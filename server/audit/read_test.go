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

// tailOf is the request ids that Tail gives.
func tailOf(t *testing.T, path string, n int, filter audit.Filter) (ids []string) {
	t.Helper()
	require.NoError(t, audit.Tail(t.Context(), path, n, &filter, false, func(l *audit.Line) error {
		require.True(t, strings.HasPrefix(string(l.Text), fmt.Sprintf(`{"v":1,"chain":%d,"seq":%d,`, l.Chain, l.Seq)))
		ids = append(ids, l.RequestID)
		return nil
	}))
	return ids
}

// page is one that can be read.
func page(t *testing.T, dir string, q audit.Query) (entries []audit.Entry, next audit.Heads) {
	t.Helper()
	p, err := audit.NewReader(dir, nil).Page(t.Context(), q)
	require.NoError(t, err)
	return p.Entries, p.Next
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	require.Empty(t, tailOf(t, path, 10, audit.Filter{}))
	f := open(t, path, audit.Options{MaxSize: 2000, Sync: audit.SyncLater})
	var all []string
	for i := range 30 {
		e := use(i)
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
	names := readLog(t, path).names
	appendTo(t, names[len(names)-1], `{"v":1,"chain":1,"seq":99,"requestId":"torn"`)
	require.Equal(t, all, tailOf(t, path, 100, audit.Filter{}), "over several files")
	require.Equal(t, all[25:], tailOf(t, path, 5, audit.Filter{}))
	require.Empty(t, tailOf(t, path, 0, audit.Filter{}))
	require.Equal(t, []string{"24", "27"}, tailOf(t, path, 2, audit.Filter{Tenant: "other"}))
	require.Equal(t, []string{"10", "20"}, tailOf(t, path, 9, audit.Filter{Severity: audit.Warning}))
	require.Equal(t, []string{"10"}, tailOf(t, path, 9, audit.Filter{Severity: audit.Critical}))
	require.Equal(t, []string{"25"}, tailOf(t, path, 9, audit.Filter{Class: "pii"}))
	require.Empty(t, tailOf(t, path, 9, audit.Filter{Action: "key.seal"}))
	require.Empty(t, tailOf(t, path, 9, audit.Filter{Action: "key"}))
	require.Equal(t, []string{"28", "29"}, tailOf(t, path, 2, audit.Filter{Action: "key."}))
	require.Empty(t, tailOf(t, path, 9, audit.Filter{Since: time.Now().Add(time.Minute)}))
	require.Len(t, tailOf(t, path, 99, audit.Filter{Since: time.Now().Add(-time.Minute)}), 30)
}

// TestPageFilters: a page and the end of the log take one filter for the same.
func TestPageFilters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{Sync: audit.SyncLater})
	actions := []audit.Action{audit.KeyOpen, audit.KeySeal, audit.ServerStart, audit.AccessRefused}
	codes := []string{"", "unknown_key", "authentication_failed"}
	for i := range 60 {
		e := use(i)
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
		want := tailOf(t, path, 100, filter)
		slices.Reverse(want)
		entries, _ := page(t, path, audit.Query{Filter: filter, Limit: 100})
		var got []string
		for _, entry := range entries {
			l, ok := audit.ParseLine(entry)
			require.True(t, ok)
			got = append(got, l.RequestID)
		}
		require.Equal(t, want, got, filter)
	}
}

// TestFollow: lines that are written in the meantime come once and in order, over the bounds of files, and only lines
// do.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{MaxSize: 20_000, Sync: audit.SyncLater, Log: quiet})
	require.NoError(t, f.Record(t.Context(), use(0)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, ended := make(chan uint64, 1000), make(chan error, 1)
	go func() {
		ended <- audit.Tail(ctx, path, 1, &audit.Filter{}, true, func(l *audit.Line) error {
			if l.Chain == 1 { // and not the line that says what was found
				seen <- l.Seq
			}
			return nil
		})
	}()
	require.EqualValues(t, 1, <-seen)
	want := uint64(1)
	for i := range 200 {
		if i == 100 {
			names := readLog(t, path).names
			audit.WaitForNextCheck()
			appendTo(t, names[len(names)-1], fmt.Sprintf("{\"v\":1,\"chain\":1,\"seq\":%d,\"requestId\":\"forged\",\"mac\":\"%064x\"}\ntorn", uint64(math.MaxUint64), 1)) // of no time
		}
		require.NoError(t, f.Record(t.Context(), use(i)))
		for i%70 == 69 && want < uint64(i) { // so that it is read in several steps
			want++
			require.Equal(t, want, <-seen)
		}
	}
	for want < 201 {
		want++
		require.Equal(t, want, <-seen)
	}
	cancel()
	require.NoError(t, <-ended)
	require.GreaterOrEqual(t, len(readLog(t, path).names), 3)
}

// TestPageSince: a clock that was put back for a while hides nothing from a page, and a page does not read all of a log
// because of it.
func TestPageSince(t *testing.T) {
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
	require.NoError(t, os.MkdirAll(filepath.Dir(first(path)), 0o700))
	require.NoError(t, os.WriteFile(first(path), []byte(log.String()), 0o600))
	entries, next := page(t, path, audit.Query{Filter: audit.Filter{Since: since}, Limit: 100})
	require.Len(t, entries, 7)
	require.Empty(t, next)
	entries, _ = page(t, path, audit.Query{Limit: 100})
	require.Len(t, entries, 100)
}

// TestMerged: lines of several chains are shown in the order of time, and a cursor leads through all of them once,
// while others are written and chains are begun.
func TestMerged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	var want []string
	var all []*audit.File
	for i := range 60 {
		if i%20 == 0 {
			all = append(all, open(t, path, audit.Options{MaxSize: 2000, Sync: audit.SyncLater}))
		}
		require.NoError(t, all[i%len(all)].Record(t.Context(), use(i)))
		for at := time.Now().UnixMilli(); time.Now().UnixMilli() == at; { // their times differ
		}
		want = append(want, strconv.Itoa(i))
	}
	require.Equal(t, want, tailOf(t, path, 100, audit.Filter{}))
	require.Equal(t, want[50:], tailOf(t, path, 10, audit.Filter{}))

	slices.Reverse(want)
	var got []string
	for q := (audit.Query{Limit: 7}); ; {
		entries, next := page(t, path, q)
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
		require.NoError(t, f.Record(t.Context(), use(1000)))
		require.NoError(t, all[0].Record(t.Context(), use(1000)))
	}
	require.Equal(t, want, got)
}
