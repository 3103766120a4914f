package audit_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

// mutations alter a log at a given line.
var mutations = map[string]func(random *rand.Rand, c *logContent, i, j int){
	"a byte": func(random *rand.Rand, c *logContent, i, j int) {
		line := []byte(c.lines[i][j])
		line[random.IntN(len(line))] ^= byte(1 + random.IntN(255))
		c.lines[i][j] = string(line)
	},
	"removed": func(_ *rand.Rand, c *logContent, i, j int) { c.lines[i] = slices.Delete(c.lines[i], j, j+1) },
	"removed to the end of the file": func(_ *rand.Rand, c *logContent, i, j int) {
		c.lines[i] = c.lines[i][:j]
	},
	"swapped": func(random *rand.Rand, c *logContent, i, j int) {
		k := random.IntN(len(c.lines))
		l := random.IntN(len(c.lines[k]))
		c.lines[i][j], c.lines[k][l] = c.lines[k][l], c.lines[i][j]
	},
	"twice": func(_ *rand.Rand, c *logContent, i, j int) { c.lines[i] = slices.Insert(c.lines[i], j, c.lines[i][j]) },
	"junk":  func(_ *rand.Rand, c *logContent, i, j int) { c.lines[i] = slices.Insert(c.lines[i], j, "junk\n") },
	"forged": func(_ *rand.Rand, c *logContent, i, j int) {
		c.lines[i] = slices.Insert(c.lines[i], j, fmt.Sprintf("{\"v\":1,\"chain\":1,\"seq\":%d,\"action\":\"key.open\",\"mac\":\"%064x\"}\n", j+1, j))
	},
	"cut within": func(random *rand.Rand, c *logContent, i, j int) {
		c.lines[i] = append(c.lines[i][:j:j], c.lines[i][j][:random.IntN(len(c.lines[i][j]))])
	},
	"joined": func(_ *rand.Rand, c *logContent, i, j int) { c.lines[i][j] = strings.TrimSuffix(c.lines[i][j], "\n") },
}

// Verify finds every alteration of a line, and reports the line.
func TestEveryAlterationIsFound(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 6 {
		path := randomLog(t, random)
		was := readContent(t, path)
		require.Nil(t, verify(t, path).Fault)
		for name, mutate := range mutations {
			for range 12 {
				c := was.clone()
				i := random.IntN(len(c.lines))
				j := random.IntN(len(c.lines[i]))
				if !strings.HasSuffix(c.lines[i][j], "\"}\n") {
					continue // a line that a kill cut short may have any bytes
				}
				mutate(random, &c, i, j)
				file, line := c.firstChange(was)
				if file == "" {
					continue // the line was swapped with itself
				}
				c.write(t)
				v := verify(t, path)
				require.NotNil(t, v.Fault, name)
				if was.torn(v.Fault.File, v.Fault.Line) {
					continue // the cut line before it may be reported instead
				}
				require.Equal(t, fmt.Sprint(file, ":", line), fmt.Sprint(v.Fault.File, ":", v.Fault.Line), "%s: %+v", name, *v.Fault)
			}
		}
		was.write(t)
		require.Nil(t, verify(t, path).Fault)
		require.NoError(t, os.Remove(was.names[random.IntN(len(was.names))]))
		require.NotNil(t, verify(t, path).Fault, "a missing file is a fault")
	}
}

func TestFaultKinds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{Sync: audit.SyncLater})
	for i := range 9 {
		require.NoError(t, f.Record(t.Context(), useEvent(i)))
	}
	require.NoError(t, f.Close())
	was := readContent(t, path)
	for _, c := range []struct {
		kind  audit.FaultKind
		line  int
		alter func(lines []string) []string
	}{
		{audit.FaultChanged, 3, func(l []string) []string { l[2] = strings.Replace(l[2], "clinic", "clinik", 1); return l }},
		{audit.FaultChanged, 3, func(l []string) []string { l[2] = "not a line\n"; return l }},
		{audit.FaultChanged, 4, func(l []string) []string { return slices.Insert(l, 3, "junk\n") }},
		{audit.FaultChanged, 9, func(l []string) []string { l[8] = strings.Replace(l[8], "clinic", "clinik", 1); return l }},
		{audit.FaultRemoved, 3, func(l []string) []string { return slices.Delete(l, 2, 5) }},
		{audit.FaultRemoved, 1, func(l []string) []string { return l[1:] }},
		{audit.FaultInserted, 4, func(l []string) []string { return slices.Insert(l, 3, l[0]) }},
		{audit.FaultRemoved, 3, func(l []string) []string { l[2], l[6] = l[6], l[2]; return l }},
		{audit.FaultTruncated, 8, func(l []string) []string { return l[:7] }},
		{audit.FaultTruncated, 1, func(l []string) []string { return nil }},
		{audit.FaultTruncated, 9, func(l []string) []string { l[8] = l[8][:50]; return l }},
		{audit.FaultChanged, 1, func([]string) []string { return linesOfOtherLog(t, 9) }},
		{audit.FaultChanged, 4, func(l []string) []string { return append(l[:3], linesOfOtherLog(t, 9)[3:]...) }},
		{audit.FaultInserted, 4, func(l []string) []string {
			return slices.Insert(l, 3, strings.Replace(l[3], `"chain":1`, `"chain":2`, 1))
		}},
	} {
		t.Run(fmt.Sprint(c.kind, c.line), func(t *testing.T) {
			changed := was.clone()
			changed.lines[0] = c.alter(changed.lines[0])
			changed.write(t)
			fault := verify(t, path).Fault
			require.NotNil(t, fault)
			require.Equal(t, []any{c.kind, c.line, uint64(c.line)}, []any{fault.Kind, fault.Line, fault.Seq}, "%+v", *fault)
		})
	}
}

// linesOfOtherLog returns the lines of a log that was written under another key.
func linesOfOtherLog(t *testing.T, n int) []string {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{Sync: audit.SyncLater})
	for i := range n {
		require.NoError(t, f.Record(t.Context(), useEvent(i)))
	}
	require.NoError(t, f.Close())
	return readContent(t, path).lines[0]
}

// A line of a fork of the log, with the same key and the same number, is not accepted in the place of the original
// line.
func TestLineOfForkIsRejected(t *testing.T) {
	dir, fork := t.TempDir(), t.TempDir()
	write := func(dir string, n int) logContent {
		path := filepath.Join(dir, "audit")
		f, err := audit.Open(path, keyOf(t, path), audit.Options{})
		require.NoError(t, err)
		for i := range n {
			require.NoError(t, f.Record(t.Context(), useEvent(rand.IntN(1e9)), useEvent(i)))
		}
		require.NoError(t, f.Close())
		return readContent(t, path)
	}
	write(dir, 2)
	require.NoError(t, os.CopyFS(fork, os.DirFS(dir)))
	own, other := write(dir, 3), write(fork, 3)
	own.lines[0][6] = other.lines[0][6]
	own.write(t)
	fault := verify(t, filepath.Join(dir, "audit")).Fault
	require.NotNil(t, fault)
	require.Equal(t, []any{audit.FaultChanged, 7}, []any{fault.Kind, fault.Line})
}

// A line that was cut by a kill, a full disk or a power cut stays at the end of its file and is listed. Anything else
// there is a fault, both before and after more lines follow.
func TestCutLineIsNotAFault(t *testing.T) {
	const begun = `{"v":1,"chain":1,"seq":4,"time":"2026-01`
	forged := `{"time":"2026-01-01T00:00:00.000Z","action":"tenant.shred","outcome":"ok","tenant":"clinic"}`
	zeros := strings.Repeat("\x00", 200<<10)
	for name, c := range map[string]struct {
		end string
		ok  bool
	}{
		"a line's begin": {begun, true}, "a byte": {"{", true}, "zeros": {zeros, true}, "a begin and zeros": {begun + zeros, true},
		"a line but for its end": {strings.TrimSuffix(linesOfOtherLog(t, 4)[3], "\n"), true}, "twice": {begun + "\n" + begun, false},
		"zeros and an object": {zeros + forged + "\n", false}, "an object": {forged + "\n", false}, "an object without its end": {forged, false},
		"an object that begins as a line": {`{"v":1,"chain":1,"seq":4,` + forged[1:] + "\n", false}, "junk": {"junk", false}, "an empty line": {"\n", false},
		"a begin and an object": {begun + "\n" + forged, false}, "a long begin": {begun + strings.Repeat("x", 200<<10), false},
		"junk that is long": {strings.Repeat("junk", 100<<10) + "\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit")
			options := audit.Options{Log: discardLog}
			f := open(t, path, options)
			require.NoError(t, f.Record(t.Context(), useEvent(1), useEvent(2), useEvent(3)))
			require.NoError(t, f.Close())
			appendTo(t, firstFile(path), c.end)
			check := func() {
				v := verify(t, path)
				if !c.ok {
					require.NotNil(t, v.Fault)
					require.Equal(t, []any{audit.FaultChanged, 4, uint64(4)}, []any{v.Fault.Kind, v.Fault.Line, v.Fault.Seq}, "%+v", *v.Fault)
					require.Empty(t, v.Chains[0].Torn)
					return
				}
				require.Nil(t, v.Fault)
				require.Equal(t, []string{"1/00000000000000000001.log:4"}, v.Chains[0].Torn)
			}
			check()
			reports := 0
			options.OnAltered = func() { reports++ }
			f = open(t, path, options)
			require.NoError(t, f.Record(t.Context(), useEvent(4)))
			check()
			require.Equal(t, c.ok, reports == 0)
			require.Len(t, filesOf(t, path), 2)
		})
	}
}

// A line that lacks only its newline is not a line.
func TestLineWithoutNewlineIsCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	write := func() {
		f := open(t, path, audit.Options{})
		require.NoError(t, f.Record(t.Context(), useEvent(1)))
		require.NoError(t, f.Close())
	}
	write()
	head, err := os.ReadFile(filepath.Join(path, "1/head"))
	require.NoError(t, err)
	write()
	c := readContent(t, path)
	c.lines[0][1] = strings.TrimSuffix(c.lines[0][1], "\n")
	c.write(t)
	require.NoError(t, os.WriteFile(filepath.Join(path, "1/head"), head, 0o600))
	write()
	v := verify(t, path)
	require.Nil(t, v.Fault)
	require.Len(t, v.Chains[0].Torn, 1)
}

// Verify finds a chain that was removed or added, and a chain of another log with the same key. It finds a chain that
// was restored with its head by comparing with heads that were kept elsewhere.
func TestVerifyFindsAlteredChains(t *testing.T) {
	for name, c := range map[string]struct {
		alter func(t *testing.T, dir string, early func(name string))
		kind  audit.FaultKind
	}{
		"removed": {func(t *testing.T, dir string, _ func(string)) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "3")))
		}, audit.FaultHead},
		"emptied": {func(t *testing.T, dir string, _ func(string)) {
			require.NoError(t, os.Remove(filepath.Join(dir, "3", filepath.Base(firstFile(dir)))))
		}, audit.FaultTruncated},
		"put back": {func(t *testing.T, _ string, early func(string)) {
			early("3/head")
			early("3/00000000000000000001.log")
		}, audit.FaultTruncated},
		"forgotten": {func(t *testing.T, dir string, early func(string)) { early("chains") }, audit.FaultInserted},
		"list removed": {func(t *testing.T, dir string, _ func(string)) {
			require.NoError(t, os.Remove(filepath.Join(dir, "chains")))
		}, audit.FaultHead},
		"another's head": {func(t *testing.T, dir string, _ func(string)) {
			require.NoError(t, os.CopyFS(filepath.Join(dir, "1"), os.DirFS(filepath.Join(dir, "3"))))
		}, audit.FaultHead},
		"added": {func(t *testing.T, dir string, _ func(string)) {
			require.NoError(t, os.CopyFS(filepath.Join(dir, "5"), os.DirFS(filepath.Join(dir, "3"))))
		}, audit.FaultInserted},
		"another log's": {func(t *testing.T, dir string, _ func(string)) {
			other := filepath.Join(t.TempDir(), "audit")
			f, err := audit.Open(other, keyOf(t, dir), audit.Options{})
			require.NoError(t, err)
			require.NoError(t, f.Record(t.Context(), useEvent(1), useEvent(2)))
			require.NoError(t, f.Close())
			require.NoError(t, os.CopyFS(filepath.Join(dir, "1"), os.DirFS(filepath.Join(other, "1"))))
		}, audit.FaultHead},
		"another log's lines": {func(t *testing.T, dir string, _ func(string)) {
			other := filepath.Join(t.TempDir(), "audit")
			f, err := audit.Open(other, keyOf(t, dir), audit.Options{})
			require.NoError(t, err)
			require.NoError(t, f.Record(t.Context(), useEvent(1), useEvent(2)))
			require.NoError(t, f.Close())
			require.NoError(t, os.Remove(firstFile(dir)))
			require.NoError(t, os.Link(firstFile(other), firstFile(dir)))
		}, audit.FaultChanged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "audit")
			record := func(f *audit.File) { require.NoError(t, f.Record(t.Context(), useEvent(1))) }
			server := open(t, dir, audit.Options{})
			record(server)
			list, err := os.ReadFile(filepath.Join(dir, "chains"))
			require.NoError(t, err)
			command := open(t, dir, audit.Options{})
			record(command)
			require.NoError(t, command.Close())
			earlier := t.TempDir()
			require.NoError(t, os.CopyFS(earlier, os.DirFS(dir)))
			require.NoError(t, os.WriteFile(filepath.Join(earlier, "chains"), list, 0o600))
			command = open(t, dir, audit.Options{})
			record(command)
			require.NoError(t, command.Close())
			require.NoError(t, server.Close())
			server = open(t, dir, audit.Options{})
			record(server)
			require.NoError(t, server.Close())
			require.Nil(t, verify(t, dir).Fault)
			kept, err := audit.ReadHeads(dir, keyOf(t, dir))
			require.NoError(t, err)
			if name == "another's head" || name == "another log's" {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "1")))
			}
			c.alter(t, dir, func(name string) {
				text, err := os.ReadFile(filepath.Join(earlier, name))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
			})
			if name == "put back" {
				require.Nil(t, verify(t, dir).Fault)
			}
			fault := verify(t, dir, kept.Heads...).Fault
			require.NotNil(t, fault)
			require.Equal(t, c.kind, fault.Kind, "%+v", *fault)
		})
	}
}
