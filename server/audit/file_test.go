package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

var discardLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func newKey(t *testing.T) *audit.Key {
	t.Helper()
	return audit.NewKey(secret.New())
}

// keyOf returns the key of a log, which the tests keep in a file beside the log.
func keyOf(t *testing.T, dir string) *audit.Key {
	t.Helper()
	if err := durable.Create(dir+".key", secret.New().Append(nil)); !errors.Is(err, fs.ErrExist) {
		require.NoError(t, err)
	}
	text, err := os.ReadFile(dir + ".key")
	require.NoError(t, err)
	key, err := secret.FromBytes(text)
	require.NoError(t, err)
	return audit.NewKey(key)
}

// firstFile returns the path of the first file of the first chain.
func firstFile(dir string) string { return filepath.Join(dir, "1", "00000000000000000001.log") }

func open(t *testing.T, path string, options audit.Options) *audit.File {
	t.Helper()
	if options.Timeout == 0 {
		options.Timeout = time.Minute
	}
	f, err := audit.Open(path, keyOf(t, path), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// logLines returns all lines of a log, chain by chain. A line that is not a JSON object is nil.
func logLines(t *testing.T, dir string) (all []map[string]any) {
	t.Helper()
	for _, file := range readContent(t, dir).lines {
		for _, line := range file {
			var one map[string]any
			_ = json.Unmarshal([]byte(line), &one)
			all = append(all, one)
		}
	}
	return all
}

// logText returns the text of a whole log.
func logText(t *testing.T, dir string) (all string) {
	t.Helper()
	for _, file := range readContent(t, dir).lines {
		all += strings.Join(file, "")
	}
	return all
}

func useEvent(n int) audit.Event {
	return audit.Event{Action: audit.KeyOpen, RequestID: fmt.Sprint(n), Tenant: "clinic", Class: classify.PHI, Subject: "t1", Issuer: "coffer"}
}

func TestRecordWritesWholeLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	key := newKey(t)
	f, err := audit.Open(path, key, audit.Options{PlainContext: []string{"field"}})
	require.NoError(t, err)
	e := useEvent(7)
	e.Code, e.Operation, e.Name, e.KeyID = "authentication_failed", "getEntry", "patient:P12345", format.KeyID{0xab}
	e.Context = map[string]string{"field": "ssn", "user_id": "user_123", "other": "x"}
	require.NoError(t, f.Record(t.Context(), e))
	require.NoError(t, f.Close())

	got := logLines(t, path)
	require.Len(t, got, 1)
	at, err := time.Parse("2006-01-02T15:04:05.000Z", got[0]["time"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	delete(got[0], "time")
	require.Regexp(t, "^[0-9a-f]{64}$", got[0]["mac"])
	delete(got[0], "mac")
	hashes := []string{key.HashContext("clinic", "user_id", "user_123"), key.HashContext("clinic", "other", "x")}
	require.ElementsMatch(t, hashes, got[0]["contextHashes"])
	delete(got[0], "contextHashes")
	require.Equal(t, map[string]any{
		"v": 1.0, "chain": 1.0, "seq": 1.0,
		"severity": "critical", "action": "key.open", "outcome": "failed", "code": "authentication_failed", "requestId": "7", "operation": "getEntry",
		"issuer": "coffer", "subject": "t1", "tenant": "clinic", "class": "phi", "keyId": "ab" + strings.Repeat("0", 62),
		"nameHash": key.HashName("clinic", "patient:P12345"), "context": map[string]any{"field": "ssn"},
	}, got[0])
}

func TestSeverityAndOutcomeFollowFromEvent(t *testing.T) {
	for _, c := range []struct {
		event             audit.Event
		severity, outcome string
	}{
		{audit.Event{Action: audit.KeySeal, Class: classify.PHI}, "info", "ok"},
		{audit.Event{Action: audit.KeyOpen, Code: "authentication_failed"}, "critical", "failed"},
		{audit.Event{Action: audit.SessionEnd}, "info", "ok"},
		{audit.Event{Action: audit.KeyOpen, Code: "unknown_key"}, "warning", "failed"},
		{audit.Event{Action: audit.AccessRefused, Code: "forbidden"}, "warning", "refused"},
		{audit.Event{Action: audit.TokenRevoke}, "notice", "ok"},
		{audit.Event{Action: audit.KeyCompromised}, "critical", "ok"},
		{audit.Event{Action: audit.KeyRotate, Code: "keyring_unavailable"}, "warning", "failed"},
	} {
		path := filepath.Join(t.TempDir(), "audit")
		require.NoError(t, open(t, path, audit.Options{}).Record(t.Context(), c.event))
		got := logLines(t, path)
		require.Equal(t, c.severity, got[0]["severity"])
		require.Equal(t, c.outcome, got[0]["outcome"])
	}
}

func TestFactsAreTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{})
	facts := audit.Facts{audit.FactJob: "j1", audit.FactFailed: "3", audit.FactReason: strings.Repeat("r", 300)}
	require.NoError(t, f.Record(t.Context(), audit.Event{Action: audit.KeyRotate, Facts: facts}))
	require.Equal(t, map[string]any{"job": "j1", "failed": "3", "reason": strings.Repeat("r", 255)}, logLines(t, path)[0]["facts"])
}

// Ordinary use of keys of low classes would hide other events in the log. Its failures are recorded.
func TestOrdinaryUseOfLowClassesIsNotRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{})
	for _, class := range classify.All {
		require.NoError(t, f.Record(t.Context(), audit.Event{Action: audit.KeySeal, Class: class},
			audit.Event{Action: audit.KeyOpen, Class: class, Code: "authentication_failed"}))
	}
	got := logLines(t, path)
	require.Len(t, got, 3+5)
	require.Equal(t, "public", got[0]["class"])
	require.Equal(t, "critical", got[0]["severity"])
}

// The test puts a secret into every field of an event that must not be shown.
func TestRecordHidesNamesAndContexts(t *testing.T) {
	const secret = "planted-4111-secret"
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{PlainContext: []string{"field"}})
	e := useEvent(1)
	e.Name, e.Code = secret, secret
	e.Context = map[string]string{"patient": secret, secret: "x", "field": strings.Repeat("y", 300) + secret}
	require.NoError(t, f.Record(t.Context(), e))
	content := logText(t, path)
	require.NotContains(t, content, secret)
	require.NotContains(t, content, "patient")
	require.Contains(t, content, `"code":"internal"`, "an unknown code is replaced")
}

func TestLinesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{})
	long := strings.Repeat("é\n\x00", 1<<16)
	e := audit.Event{Action: audit.AccessRefused, RequestID: long, Operation: long, Issuer: long, Subject: long, Tenant: long, Context: map[string]string{}}
	for i := range format.MaxContextEntries {
		e.Context[fmt.Sprint(i)] = long
	}
	require.NoError(t, f.Record(t.Context(), e))
	content := logText(t, path)
	require.Equal(t, 1, strings.Count(content, "\n"), "newlines in fields are escaped")
	require.Less(t, len(content), 16<<10)
	require.NotNil(t, logLines(t, path)[0])
}

// If several servers and commands write to one log, no line is lost, cut or written twice, and there are as many chains
// as concurrent writers need.
func TestConcurrentWritersLoseNoLine(t *testing.T) {
	const files, writers, each = 3, 16, 50
	path := filepath.Join(t.TempDir(), "audit")
	for round := range 2 {
		var wg sync.WaitGroup
		var all []*audit.File
		for i := range files {
			f := open(t, path, audit.Options{Sync: audit.SyncPolicy(i)})
			all = append(all, f)
			for j := range writers {
				wg.Go(func() {
					for k := range each {
						if err := f.Record(t.Context(), useEvent((i*writers+j)*each+k), useEvent(-1)); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		for _, f := range all {
			require.NoError(t, f.Close())
		}
		seen := map[string]int{}
		for _, line := range logLines(t, path) {
			require.NotNil(t, line)
			seen[line["requestId"].(string)]++
		}
		require.Len(t, seen, files*writers*each+1)
		require.Equal(t, files*writers*each*(round+1), seen["-1"])
		v := verify(t, path)
		require.Nil(t, v.Fault)
		require.Len(t, v.Chains, 2*files)
	}
}

// All lines stay, even one that was cut short. The next process begins another file after it.
func TestOpenContinuesAfterCutLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{})
	require.NoError(t, f.Record(t.Context(), useEvent(1)))
	require.NoError(t, f.Close())
	appendTo(t, firstFile(path), `{"v":1,"chain":1,"seq":2,"time":"2026-01-01T00:00:0`)
	torn := logText(t, path)
	f = open(t, path, audit.Options{})
	require.NoError(t, f.Record(t.Context(), useEvent(2)))
	require.NoError(t, f.Record(t.Context(), useEvent(3)))
	require.True(t, strings.HasPrefix(logText(t, path), torn), "the log is only appended to")
	got := logLines(t, path)
	require.Len(t, got, 4)
	require.Nil(t, got[1])
	require.Equal(t, "2", got[2]["requestId"])
	require.Equal(t, "3", got[3]["requestId"])
	require.Len(t, filesOf(t, path), 2)
	require.NoError(t, f.Close())
	require.NoError(t, open(t, path, audit.Options{}).Record(t.Context(), useEvent(4)))
	require.Len(t, filesOf(t, path), 2, "a file without a cut line is continued")
}

func TestFilesAreReadableByOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	for range 2 {
		f := open(t, path, audit.Options{})
		require.NoError(t, f.Record(t.Context(), useEvent(1), audit.Event{Action: audit.KeyDestroy}))
		require.NoError(t, f.Close())
		require.NoError(t, os.Chmod(firstFile(path), 0o644))
	}
	open(t, path, audit.Options{})
	require.NoError(t, filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, file)
		return nil
	}))
}

// Events are refused, or not recorded, until the file can be written. TestLogContinuesAfterFullDisk covers a full disk.
func TestRecordFailsWhileFileIsNotWritable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{Log: discardLog})
	require.NoError(t, f.Ready(t.Context()), "no write has failed yet")
	require.NoError(t, os.Symlink("/dev/full", firstFile(path)))
	err := f.Record(t.Context(), useEvent(1))
	require.ErrorIs(t, err, audit.ErrUnavailable)
	require.Equal(t, "audit_unavailable", codes.Of(err).Code)
	require.ErrorContains(t, err, "not a regular file")
	require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)
	require.NoError(t, f.Record(t.Context(), audit.Event{Action: audit.KeyOpen, Class: classify.Public}), "an event that is not recorded is not refused")
	require.NoError(t, f.Close())

	goesOn := open(t, path, audit.Options{OnFailure: audit.Continue, Log: discardLog})
	require.NoError(t, goesOn.Record(t.Context(), useEvent(1)))
	require.ErrorIs(t, goesOn.Ready(t.Context()), audit.ErrUnavailable, "readiness reports the failure nevertheless")

	require.NoError(t, os.Remove(firstFile(path))) // now it can be written again
	require.NoError(t, goesOn.Ready(t.Context()))
	require.NoError(t, goesOn.Record(t.Context(), useEvent(2)))
	require.Len(t, logLines(t, path), 2)
}

func TestRecordAfterCloseFails(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "audit"), audit.Options{})
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Record(t.Context(), useEvent(1)), audit.ErrUnavailable)
}

func TestOpenFailsAtPathOfFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := audit.Open(path, newKey(t), audit.Options{})
	require.Error(t, err)
}
